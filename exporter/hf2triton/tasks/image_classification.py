"""Labels for images."""

from .base import Endpoint, Output, Task
from .tolerances import LOGITS

TASK = Task("image-classification", True, (Endpoint("image", "image", (Output("logits", "row", LOGITS),)),))
