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


#: Name -> function that compares embeddings `[n, dim]` with one embedding `[dim]`, as `SentenceTransformer.similarity` does.
#: Distances are negated, so a higher value always means more similar.
SIMILARITIES: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    "cosine": lambda vectors, other: normalize(vectors) @ normalize(other),
    "dot": lambda vectors, other: vectors @ other,
    "euclidean": lambda vectors, other: -np.linalg.norm(vectors - other, axis=-1),
    "manhattan": lambda vectors, other: -np.abs(vectors - other).sum(axis=-1),
}


@dataclass(frozen=True)
class WordPieceDecoder:
    """Joins word pieces as the decoder of the same name in `tokenizers` does
    (tokenizers/src/decoders/wordpiece.rs)."""

    prefix: str = "##"
    cleanup: bool = True

    _CLEANUP = (
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    )

    def decode(self, tokens: Sequence[str]) -> str:
        return "".join(self._piece(index, token) for index, token in enumerate(tokens))

    def _piece(self, index: int, token: str) -> str:
        if index:
            token = token[len(self.prefix) :] if token.startswith(self.prefix) else f" {token}"
        if self.cleanup:
            for dirty, clean in self._CLEANUP:
                token = token.replace(dirty, clean)
        return token


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
    tokens: Sequence[Token], strategy: str, id2label: Mapping[int, str], decoder: WordPieceDecoder
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


def _word(word: list[Token], strategy: str, id2label: Mapping[int, str], decoder: WordPieceDecoder) -> dict[str, Any]:
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


def group_entities(entities: Sequence[dict[str, Any]], decoder: WordPieceDecoder) -> list[dict[str, Any]]:
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
