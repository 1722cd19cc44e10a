"""One embedding for each text."""

from .base import Endpoint, Output, Task
from .tolerances import EMBEDDING

TASK = Task("sentence-similarity", False, (Endpoint("text", "text", (Output("embedding", "row", EMBEDDING),)),))
