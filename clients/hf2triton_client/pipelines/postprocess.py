"""Turns a model's outputs into answers, with numpy alone.

The token-classification part follows `TokenClassificationPipeline` of transformers 5
(src/transformers/pipelines/token_classification.py) step by step, so the results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .token_decoders import TokenDecoder

AGGREGATIONS = ("none", "simple", "first", "average", "max")


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """exp(x) / sum(exp(x)) over the last axis, shifted to avoid overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[Any] = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)), without overflow for large negative x."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def normalize(vectors: NDArray[Any]) -> NDArray[Any]:
    """Vectors `[…, dim]` scaled to length 1 (a zero vector stays zero)."""
    scaled: NDArray[Any] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return scaled


#: Name in torch.nn -> the function, for float32 `[…]`.
ACTIVATIONS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "Sigmoid": sigmoid,
    "Identity": lambda values: values,
    "Tanh": np.tanh,
    "ReLU": lambda values: np.maximum(values, 0),
    "LogSigmoid": lambda values: -np.logaddexp(0, -values),
    "Softplus": lambda values: np.logaddexp(0, values),
}
#: The activations whose values are never larger than 1.
BOUNDED = frozenset({"Sigmoid", "Tanh"})


@dataclass(frozen=True)
class Token:
    """A token of a text: its string, its label scores `[labels]`, its position (in characters) and whether it continues a
    word."""

    word: str
    scores: NDArray[Any]
    start: int
    end: int
    index: int
    continues: bool


def words_of(
    tokens: Sequence[Token], strategy: str, id2label: Mapping[int, str], decoder: TokenDecoder
) -> list[dict[str, Any]]:
    """Labelled tokens ("none" and "simple") or labelled words (the other strategies)."""
    if strategy in ("none", "simple"):
        return [
            {
                "entity": id2label[int(token.scores.argmax())],
                "score": token.scores.max(),
                "index": token.index,
                "word": token.word,
                "start": token.start,
                "end": token.end,
            }
            for token in tokens
        ]
    words: list[list[Token]] = []
    for token in tokens:
        if words and token.continues:
            words[-1].append(token)
        else:
            words.append([token])
    return [_word(word, strategy, id2label, decoder) for word in words]


def _word(word: list[Token], strategy: str, id2label: Mapping[int, str], decoder: TokenDecoder) -> dict[str, Any]:
    """One word's label: the label of its first token, the label of its most certain token, or the best of the mean scores."""
    scores_by: Mapping[str, Callable[[], NDArray[Any]]] = {
        "first": lambda: word[0].scores,
        "max": lambda: max(word, key=lambda token: token.scores.max()).scores,
        "average": lambda: np.nanmean(np.stack([token.scores for token in word]), axis=0),
    }
    scores = scores_by[strategy]()
    best = int(scores.argmax())
    return {
        "entity": id2label[best],
        "score": scores[best],
        "word": decoder.decode([token.word for token in word]),
        "start": word[0].start,
        "end": word[-1].end,
    }


def group_entities(entities: Sequence[dict[str, Any]], decoder: TokenDecoder) -> list[dict[str, Any]]:
    """Joins neighbouring tokens of the same entity, by the B- and I- of their labels."""
    groups: list[list[dict[str, Any]]] = []
    for entity in entities:
        begins, tag = _tag(entity["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(entity)
        else:
            groups.append([entity])
    return [
        {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": np.mean(np.nanmean([entity["score"] for entity in group])),
            "word": decoder.decode([entity["word"] for entity in group]),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }
        for group in groups
    ]


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and the kind of entity. A label without B- or I- continues an entity."""
    return label.startswith("B-"), label[2:] if label[:2] in ("B-", "I-") else label
