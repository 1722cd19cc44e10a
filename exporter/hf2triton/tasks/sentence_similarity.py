"""One embedding for each text."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.arguments import compared
from .common.questions import sent_sentences, sentences
from .common.schemas import PAIR, TEXT, TEXTS, text, vector
from .common.tolerances import EMBEDDING, STATES

#: Rows with a second text are answered with a similarity; all other rows with an embedding.
_PAIRS = AnswerSchema(
    {"text": TEXT, "text_pair": PAIR},
    lambda row: {"source_sentence": row["text"], "sentences": [row["text_pair"]]},
    lambda pa, options: pa.list_(pa.float64()),
    alone=True,
    example={"source_sentence": "a", "sentences": ["a"]},
)

#: The ranges of int8 are those of a call's texts, and a text's tokens are as many as it has.
_PER_CALL = frozenset({"precision", "output_value"})

#: Lines have the pipeline's own form.
_COMPARED = AnswerSchema(
    {"source_sentence": ("source_sentence",), "sentences": ("sentences",)},
    dict,
    lambda pa, options: pa.list_(pa.float64()),
    alone=True,
    example={"source_sentence": "a", "sentences": ["a"]},
)

TASK = Task(
    "sentence-similarity",
    has_head=False,
    endpoints=(
        Endpoint(
            "text",
            "text",
            (Output("embedding", "row", EMBEDDING), Output("token_embeddings", "token", STATES, on_demand=True)),
        ),
    ),
    embeds=True,
    questions=sentences,
    inputs=sent_sentences,
    reference="similarities",
    arguments=compared,
    schema=AnswerSchema(TEXTS, text, vector, method="encode", without=_PER_CALL, with_column={"text_pair": _PAIRS}),
    lines=_COMPARED,
)
