"""Questions for a pipeline, one call each, and the comparison of its answers with PyTorch's.

Answers are those of `transformers.pipeline`: labels and scores, entities, spans, tokens, texts. The comparison covers both
their content and their scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .compare import Difference, Tolerance
from .places import QUOTED, Axis, Places, Worst, described, numbers_apart, texts_apart

#: The name of the difference between answers, next to the names of outputs.
ANSWERS = "answers"
#: Calls under way at the same time.
IN_FLIGHT = 8


@dataclass(frozen=True)
class Questions:
    """Inputs of a pipeline. Each is one call with `options`, plus the input's own options in `each`, if there are any.

    `method`: the pipeline's method, "" for the call itself. `answers`: PyTorch's answers, one per input. `labels`: the right
    answers, one per input. Both are empty if unknown. JSON can hold everything except encoded images, which are bytes.
    """

    inputs: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    answers: tuple[Any, ...] = ()
    labels: tuple[Any, ...] = ()
    each: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)

    def ask(self, pipeline: Any, in_flight: int = IN_FLIGHT) -> list[Any]:
        """The answers of a pipeline, either ours or transformers'."""
        call = getattr(pipeline, self.method) if self.method else pipeline
        with ThreadPoolExecutor(in_flight) as pool:
            return list(pool.map(lambda one, own: call(one, **{**self.options, **own}), self.inputs, self.options_each))

    def describe(self, index: int) -> str:
        """A question in words: the beginnings of its texts, or only the number of an image."""
        noun = "image" if isinstance(self.inputs[index], bytes) else "question"
        return described(noun, index, self.inputs[index])

    @property
    def options_each(self) -> tuple[Mapping[str, Any], ...]:
        """The options of each call in addition to the common options."""
        return self.each or ({},) * len(self.inputs)


def compare_answers(
    expected: Sequence[Any],
    served: Sequence[Any],
    tolerance: Tolerance,
    ties: Sequence[bool] | None = None,
    describe: Callable[[int], str] = lambda index: f"row {index}",
) -> Difference:
    """Compares answers row by row.

    `max_abs`, `mean_abs`: of the scores of content that both sides have. `argmax`: the share of rows with the same content. An
    answer that only one side has is a breach, with three exceptions: in rows with `ties`, which PyTorch's own tensors leave
    open; at the end of rankings that were cut off, where any entry is accepted whose score is as good within the tolerance's
    `max_abs`; and entries with a score no higher than that. `describe`: describes a row's question in words.
    """
    gaps: list[float] = []
    breaches, same = [], 0
    places = Places(describe=describe, axes=(Axis("answer"),))
    worst: Worst | None = None
    farthest: tuple[float, Callable[[], Worst | None]] = (0.0, lambda: None)
    for index, (one, other) in enumerate(zip(expected, served, strict=True)):
        said, answered = _said(one), _said(other)
        same += _keys(said) == _keys(answered)
        open_row = bool(ties and ties[index])
        for place in sorted(said.keys() | answered.keys()):
            mine, theirs = said.get(place, _NOTHING), answered.get(place, _NOTHING)
            at = (place,) if max(len(said), len(answered)) > 1 else ()
            for key in [key for key in mine.scores if key in theirs.scores]:
                scores = (mine.scores[key], theirs.scores[key])
                gaps.append(abs(scores[0] - scores[1]))
                if not gaps[-1] <= farthest[0]:
                    size = gaps[-1] if gaps[-1] == gaps[-1] else float("inf")
                    farthest = (size, partial(_score_at, places, index, at, key, scores))
            lost, extra = _alone(mine, theirs, tolerance.max_abs), _alone(theirs, mine, tolerance.max_abs)
            cut = _is_cut(mine, theirs)
            if (lost or extra) and (cut or not open_row):
                sides = (_words(lost, mine), _words(extra, theirs))
                breaches.append(f"row {index}: PyTorch says {sides[0]}, served is {sides[1]}")
                worst = worst or places.worst(index, at, 1, *_apart(lost, extra, sides))
    if not expected:
        return Difference(ANSWERS, 0, float("inf"), float("inf"), None, None, ("nothing to compare",))
    largest, mean = float(np.max(gaps, initial=0.0)), float(np.sum(gaps)) / max(len(gaps), 1)
    for name, value, limit in (
        ("largest difference", largest, tolerance.max_abs),
        ("mean difference", mean, tolerance.mean_abs),
    ):
        if not value <= limit:  # NaN is a breach too
            breaches.append(f"{name} of scores {value:.3g} is above {limit:.3g}")
    if breaches and worst is None:
        worst = farthest[1]()
    share = same / len(expected)
    return Difference(ANSWERS, len(expected), largest, mean, None, share, tuple(breaches), worst=worst)


def _score_at(places: Places, index: int, at: Sequence[int], key: Any, scores: tuple[float, float]) -> Worst:
    """An entry that both sides have, with their scores."""
    told = f"{_short(key)} at " if key != "" else ""
    return places.worst(index, at, 1, *(f"{told}{score}" for score in numbers_apart(*scores)))


def _apart(lost: Sequence[Any], extra: Sequence[Any], sides: tuple[str, str]) -> tuple[str, str]:
    """The content of two sides; for two long texts, the part where they differ."""
    if len(lost) == len(extra) == 1 and isinstance(lost[0], str) and isinstance(extra[0], str):
        return texts_apart(lost[0], extra[0]) if max(len(lost[0]), len(extra[0])) > QUOTED else sides
    return sides


@dataclass(frozen=True)
class _Said:
    """The content at one place of an answer -> its score. `ranked`: the content is the best part of a ranking, best first."""

    scores: Mapping[Any, float]
    ranked: bool = False


_NOTHING = _Said({})


def _keys(said: Mapping[int, _Said]) -> set[tuple[int, Any]]:
    return {(place, key) for place, own in said.items() for key in own.scores}


def _is_cut(one: _Said, other: _Said) -> bool:
    """Whether both are rankings whose rest may have been cut off. A ranking with one entry is an answer: it does not say how
    good other entries are."""
    return one.ranked and other.ranked and len(one.scores) == len(other.scores) > 1


def _alone(one: _Said, other: _Said, tolerance: float) -> list[Any]:
    """Content that only the first has, except for entries that the other ranking may have cut off and for negligible scores."""
    alone = [key for key, score in one.scores.items() if key not in other.scores and not score <= tolerance]
    if not alone or not _is_cut(one, other):
        return alone
    limit, left = min(other.scores.values()), 1 - sum(other.scores.values())
    if abs(left) <= tolerance:  # these are probabilities, and almost nothing remains
        limit = min(limit, max(left, 0.0))
    return [key for key in alone if not one.scores[key] <= limit + tolerance]


def _said(answer: Any) -> dict[int, _Said]:
    """An answer as place -> content. There are several places if there are several texts or masks."""
    if answer is None:
        return {}
    if isinstance(answer, str):
        return {0: _Said({answer: 1.0})}
    if isinstance(answer, (float, int)):
        return {0: _Said({"": float(answer)})}
    if isinstance(answer, Mapping) and "labels" in answer:  # zero-shot-classification always returns all labels
        return {0: _Said(dict(zip(answer["labels"], map(float, answer["scores"]), strict=True)))}
    if isinstance(answer, Mapping) and all(isinstance(weight, float) for weight in answer.values()):
        return {0: _Said(answer, ranked=True)}  # the weights of tokens
    if isinstance(answer, Mapping):
        return {0: _Said(dict([_entry(answer)]))}
    if all(isinstance(entry, Mapping) for entry in answer):
        ranked = not any(fields & entry.keys() for entry in answer for fields in _FOUND)
        return {0: _Said(dict(map(_entry, answer)), ranked)}
    return {place: own for place, entry in enumerate(answer) for own in _said(entry).values()}


def _entry(entry: Mapping[str, Any]) -> tuple[Any, float]:
    read = next((read for fields, read in _KEYS if fields <= entry.keys()), None)
    if read is None:
        raise ValueError(f"an answer with {', '.join(entry)} cannot be compared")
    return read(entry), float(entry.get("score", 1.0))


#: Fields of an answer -> its content.
_KEYS: Sequence[tuple[frozenset[str], Callable[[Mapping[str, Any]], Any]]] = (
    (frozenset({"label"}), lambda answer: answer["label"]),
    (frozenset({"token"}), lambda answer: (answer["token"], answer["token_str"], answer["sequence"])),
    (
        frozenset({"entity_group"}),
        lambda answer: (answer["entity_group"], answer["start"], answer["end"], answer["word"]),
    ),
    (frozenset({"entity"}), lambda answer: (answer["entity"], answer["start"], answer["end"], answer["word"])),
    (frozenset({"index"}), lambda answer: answer["index"]),  # of a document; entities have an index too
    (frozenset({"answer"}), lambda answer: (answer["start"], answer["end"], answer["answer"])),
    (frozenset({"generated_text"}), lambda answer: answer["generated_text"]),
)


#: Fields of entries that are complete results, not the best part of a ranking.
_FOUND = (frozenset({"entity_group", "entity"}), frozenset({"generated_text"}))


def _words(alone: Sequence[Any], said: _Said) -> str:
    """The content that only one side has, or else its best content, in a few words."""
    scores = said.scores
    if not scores:
        return "nothing"
    key = alone[0] if alone else max(scores, key=lambda one: scores[one])
    return f"{_short(key)} ({scores[key]:.3g})"


def _short(key: Any) -> str:
    return str(key) if len(str(key)) <= QUOTED else f"{str(key)[: QUOTED - 1]}…"
