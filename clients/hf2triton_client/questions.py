"""What a pipeline is asked, one call each, and how far its answers lie from PyTorch's.

Answers are those of `transformers.pipeline`: labels and scores, entities, spans, tokens, texts. They are compared by what they
say and by their scores; where PyTorch's own scores lie closer together than the tolerance, either order is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from .compare import Difference, Tolerance

#: The name of the difference between answers, among those of outputs.
ANSWERS = "answers"
#: Calls under way at the same time.
IN_FLIGHT = 8


@dataclass(frozen=True)
class Questions:
    """Inputs of a pipeline, each for one call with `options`, and with options of its own where there are `each`.

    `method`: of the pipeline, "" for the call itself. `answers`: PyTorch's, one an input. `labels`: what would be right, one
    an input. Either is empty where it is not known. JSON can hold all of it but encoded images, which are bytes.
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
        """The answers of a pipeline, of ours or of transformers."""
        call = getattr(pipeline, self.method) if self.method else pipeline
        with ThreadPoolExecutor(in_flight) as pool:
            return list(pool.map(lambda one, own: call(one, **self.options, **own), self.inputs, self.options_each))

    @property
    def options_each(self) -> tuple[Mapping[str, Any], ...]:
        """The options of each call beyond those of all."""
        return self.each or ({},) * len(self.inputs)


def compare_answers(
    expected: Sequence[Any], served: Sequence[Any], tolerance: Tolerance, ties: Sequence[bool] | None = None
) -> Difference:
    """Compares answers row by row.

    `max_abs`, `mean_abs`: of the scores of what both say. `argmax`: the share of rows that say the same. What one says and
    the other does not is a breach, unless the other says something in its place whose score is as good within the tolerance's
    `max_abs`, or the row is one of `ties`: PyTorch's own tensors leave it open.
    """
    gaps: list[float] = []
    breaches, same = [], 0
    for index, (one, other) in enumerate(zip(expected, served, strict=True)):
        said, answered = ({} if answer is None else _said(answer) for answer in (one, other))
        gaps += [abs(said[key] - answered[key]) for key in said.keys() & answered.keys()]
        same += said.keys() == answered.keys()
        missing = _unmatched(said, answered, tolerance.max_abs)
        if missing and not (ties and ties[index]):
            breaches.append(f"row {index}: PyTorch says {_words(missing[0], said)}, served is {_words(None, answered)}")
    if not expected:
        return Difference(ANSWERS, 0, float("inf"), float("inf"), None, None, ("nothing to compare",))
    largest, mean = max(gaps, default=0.0), sum(gaps) / max(len(gaps), 1)
    for name, value, limit in (
        ("largest difference", largest, tolerance.max_abs),
        ("mean difference", mean, tolerance.mean_abs),
    ):
        if not value <= limit:  # NaN is a breach as well
            breaches.append(f"{name} of scores {value:.3g} is above {limit:.3g}")
    return Difference(ANSWERS, len(expected), largest, mean, None, same / len(expected), tuple(breaches))


def _unmatched(said: Mapping[Any, float], answered: Mapping[Any, float], tolerance: float) -> list[Any]:
    """What one side says alone, without a partner of the other side whose score is as good."""
    alone = {key: score for key, score in said.items() if key not in answered}
    others = sorted((score, str(key)) for key, score in answered.items() if key not in said)
    left = []
    for key, score in sorted(alone.items(), key=lambda pair: pair[1]):
        partner = next((other for other in others if abs(other[0] - score) <= tolerance), None)
        if partner is None:
            left.append(key)
        else:
            others.remove(partner)
    return left or [key for _, key in others]


def _said(answer: Any) -> dict[Any, float]:
    """An answer as what it says -> its score."""
    if isinstance(answer, Mapping) and "labels" in answer:  # zero-shot-classification
        return dict(zip(answer["labels"], map(float, answer["scores"]), strict=True))
    if isinstance(answer, (str, float, int)):
        return {answer: 1.0} if isinstance(answer, str) else {"": float(answer)}
    if isinstance(answer, Mapping):
        key = next(read for fields, read in _KEYS if fields <= answer.keys())(answer)
        return {key: float(answer.get("score", 1.0))}
    said: dict[Any, float] = {}
    for index, entry in enumerate(answer):
        # lists of lists are of several masks, lists of numbers of several texts: their places count
        placed = isinstance(entry, (list, float, int))
        said |= {(index, key) if placed else key: score for key, score in _said(entry).items()}
    return said


#: Fields of an answer -> what it says, of them.
_KEYS: Sequence[tuple[frozenset[str], Callable[[Mapping[str, Any]], Any]]] = (
    (frozenset({"label"}), lambda answer: answer["label"]),
    (frozenset({"token"}), lambda answer: (answer["token"], answer["token_str"], answer["sequence"])),
    (
        frozenset({"entity_group"}),
        lambda answer: (answer["entity_group"], answer["start"], answer["end"], answer["word"]),
    ),
    (frozenset({"entity"}), lambda answer: (answer["entity"], answer["start"], answer["end"], answer["word"])),
    (frozenset({"answer"}), lambda answer: (answer["start"], answer["end"], answer["answer"])),
    (frozenset({"generated_text"}), lambda answer: answer["generated_text"]),
)


def _words(key: Any, said: Mapping[Any, float]) -> str:
    """What is said, or the best of it, in a few words."""
    if key is None:
        key = max(said, key=lambda one: said[one], default="nothing")
    text = str(key) if len(str(key)) <= 60 else f"{str(key)[:59]}…"
    return f"{text} ({said[key]:.3g})" if key in said else text
