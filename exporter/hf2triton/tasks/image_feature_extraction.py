"""The states of an image."""

from .base import Endpoint, Output, Task
from .tolerances import STATES

_OUTPUTS = (
    Output("last_hidden_state", "row", STATES),
    Output("cls_embedding", "row", STATES),
    Output("pooler_output", "row", STATES, optional=True),
)

TASK = Task("image-feature-extraction", False, (Endpoint("image", "image", _OUTPUTS),))
