"""One embedding for each text."""

from .base import Output, Part, Task
from .tolerances import EMBEDDING

TASK = Task("sentence-similarity", False, (Part("text", "text", (Output("embedding", "row", EMBEDDING),)),))
