"""Labels that callers choose, for images, by the embeddings of both."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import IMAGE_LABELS, images, sent_labelled_images
from .common.schemas import CANDIDATES, IMAGES, LABELLED, image, record, vector
from .common.tolerances import EMBEDDING

_OUTPUTS = (Output("embedding", "row", EMBEDDING),)

TASK = Task(
    "zero-shot-image-classification",
    has_head=True,
    endpoints=(Endpoint("text", "text", _OUTPUTS, "_text"), Endpoint("image", "image", _OUTPUTS, "_image")),
    questions=images(candidate_labels=list(IMAGE_LABELS)),
    inputs=sent_labelled_images,
    schema=AnswerSchema(
        {**IMAGES, "candidate_labels": CANDIDATES},
        image,
        lambda pa, options: pa.list_(record(pa, score=pa.float64(), label=pa.string())),
        optional=LABELLED,
        example=b"a",
        unlabelled=AnswerSchema(IMAGES, image, vector, method="encode_images", example=b"a"),
    ),
)
