"""Labels for images."""

from .base import Output, Part, Task
from .tolerances import LOGITS

TASK = Task("image-classification", True, (Part("image", "image", (Output("logits", "row", LOGITS),)),))
