"""Scores of documents for a query, by a cross-encoder."""

from hf2triton_client.evaluation.datasets import DOCUMENT, QUERY

from .base import AnswerSchema, Endpoint, Output, Row, Task
from .common.arguments import query_and_documents
from .common.questions import rankings, sent_rankings
from .common.schemas import record
from .common.tolerances import SCORE


def _pair(row: Row) -> tuple[str, str]:
    return row["query"], row["document"]


TASK = Task(
    "rerank",
    has_head=True,
    endpoints=(Endpoint("pair", "text", (Output("logits", "row", SCORE),)),),
    scores_pairs=True,
    class_of="text-classification",
    questions=rankings,
    inputs=sent_rankings,
    reference="ranking",
    arguments=query_and_documents,
    # rows are scored one by one
    schema=AnswerSchema(
        {"query": QUERY, "document": DOCUMENT},
        _pair,
        lambda pa, options: pa.float32(),
        uniform=float,
        method="predict",
        example=("a", "a"),
    ),
    # lines have the pipeline's own form
    lines=AnswerSchema(
        {"query": ("query",), "documents": ("documents",)},
        dict,
        lambda pa, options: pa.list_(record(pa, index=pa.int64(), score=pa.float64(), text=pa.string())),
        alone=True,
        example={"query": "a", "documents": ["a"]},
    ),
)
