"""Labels for images."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import images, sent_images
from .common.schemas import IMAGES, image, labels
from .common.tolerances import LOGITS

TASK = Task(
    "image-classification",
    has_head=True,
    endpoints=(Endpoint("image", "image", (Output("logits", "row", LOGITS),)),),
    questions=images(),
    inputs=sent_images,
    schema=AnswerSchema(IMAGES, image, labels, example=b"a"),
)
