"""Parts of the tasks' answer schemas: columns, pipeline arguments made from a row, and answer types.

Functions that return a type take pyarrow, which is optional, as an argument, and the options of the calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf2triton_client.evaluation.datasets import IMAGE, PAIR, QUESTION, TEXT, question, text, text_or_pair

from ..base import Row

__all__ = ["IMAGE", "PAIR", "QUESTION", "TEXT", "question", "text", "text_or_pair"]

IMAGES, TEXTS = {"image": IMAGE}, {"text": TEXT}
#: The column with the labels to choose from.
CANDIDATES = ("candidate_labels",)
LABELLED = frozenset(CANDIDATES)


def image(row: Row) -> Any:
    """A row's image."""
    return row["image"]


def record(pa: Any, **fields: Any) -> Any:
    """The type of a struct with these fields."""
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


def label(pa: Any) -> Any:
    """The type of a label with its score."""
    return record(pa, label=pa.string(), score=pa.float64())


def labels(pa: Any, _: Mapping[str, Any]) -> Any:
    """The type of a list of labels."""
    return pa.list_(label(pa))


def sequence(pa: Any, _: Mapping[str, Any]) -> Any:
    """The type of a text with the labels it was sorted into."""
    return record(pa, sequence=pa.string(), labels=pa.list_(pa.string()), scores=pa.list_(pa.float64()))


def entities(pa: Any, options: Mapping[str, Any]) -> Any:
    """The type of the entities found in a text."""
    alone = str(options.get("aggregation_strategy") or "none").lower() == "none"
    tag = (
        {"entity": pa.string(), "score": pa.float64(), "index": pa.int64()} if alone else {"entity_group": pa.string()}
    )
    return pa.list_(record(pa, **{**tag, "score": pa.float64(), "word": pa.string(), **span(pa)}))


def span(pa: Any) -> dict[str, Any]:
    """The fields of a position in a text."""
    return {"start": pa.int64(), "end": pa.int64()}


def spans(pa: Any, _: Mapping[str, Any]) -> Any:
    """The type of a list of spans."""
    return pa.list_(record(pa, score=pa.float64(), **span(pa), answer=pa.string()))


def tokens(pa: Any, _: Mapping[str, Any]) -> Any:
    """The type of the tokens for each mask of a text."""
    token = record(pa, score=pa.float64(), token=pa.int64(), token_str=pa.string(), sequence=pa.string())
    return pa.list_(pa.list_(token))


def vector(pa: Any, _: Mapping[str, Any]) -> Any:
    """The type of an embedding."""
    return pa.list_(pa.float32())


def a_list_a_mask(answer: Any) -> Any:
    """The tokens of a text as one list per mask, also for a text with a single mask."""
    return answer if answer and isinstance(answer[0], list) else [answer]
