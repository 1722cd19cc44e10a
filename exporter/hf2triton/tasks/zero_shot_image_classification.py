"""Labels for images that callers choose, by the embeddings of both."""

from .base import Output, Part, Task
from .tolerances import EMBEDDING

_OUTPUTS = (Output("embedding", "row", EMBEDDING),)

TASK = Task(
    "zero-shot-image-classification",
    True,
    (Part("text", "text", _OUTPUTS, "_text"), Part("image", "image", _OUTPUTS, "_image")),
)
