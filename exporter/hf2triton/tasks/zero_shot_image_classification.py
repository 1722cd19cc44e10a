"""Labels for images that callers choose, by the embeddings of both."""

from .base import Endpoint, Output, Task
from .tolerances import EMBEDDING

_OUTPUTS = (Output("embedding", "row", EMBEDDING),)

TASK = Task(
    "zero-shot-image-classification",
    True,
    (Endpoint("text", "text", _OUTPUTS, "_text"), Endpoint("image", "image", _OUTPUTS, "_image")),
)
