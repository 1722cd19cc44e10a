"""A weight for each token of the vocabulary that a text is about (SPLADE), most of them 0."""

from typing import Any

from .base import AnswerSchema, Endpoint, Output, Task
from .common.questions import texts
from .common.schemas import TEXTS, text
from .common.tolerances import SPARSE

#: How many tokens of each text are compared by their names; all weights are compared as tensors.
_COMPARED = 64


def _weights(pa: Any, options: Any) -> Any:
    """The type of a text's tokens and weights, in descending order of weights."""
    return pa.map_(pa.string(), pa.float32())


TASK = Task(
    "sparse-embedding",
    has_head=True,
    endpoints=(Endpoint("sparse-text", "text", (Output("sparse_embedding", "row", SPARSE),)),),
    embeds=True,
    class_of="fill-mask",
    questions=texts(top_k=_COMPARED),
    reference="sparse",
    schema=AnswerSchema(TEXTS, text, _weights, uniform=lambda weights: list(weights.items())),
)
