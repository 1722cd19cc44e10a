"""The states of an image."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.schemas import IMAGES, image, vector
from .common.tolerances import STATES

_OUTPUTS = (
    Output("last_hidden_state", "row", STATES),
    Output("cls_embedding", "row", STATES),
    Output("pooler_output", "row", STATES, optional=True),
)

TASK = Task(
    "image-feature-extraction",
    has_head=False,
    endpoints=(Endpoint("image", "image", _OUTPUTS),),
    schema=AnswerSchema(IMAGES, image, vector, method="encode", example=b"a"),
)
