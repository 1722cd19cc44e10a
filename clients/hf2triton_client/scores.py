"""How right answers are: the metrics of each task, of what was served beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import metrics
from .errors import InputError
from .questions import Questions
from .results import Score

#: How much worse than PyTorch a served model may be: one row, or a hundredth of them; of a perplexity, a hundredth.
ALLOWED = 0.01

#: id -> name, of a head's labels.
Labels = Mapping[int, str]
#: Of answers, and of the questions with what would be right.
Metric = Callable[[Sequence[Any], Questions], float]


def scores_of(
    task: str, questions: Questions, labels: Labels, served: Sequence[Any], expected: Sequence[Any] = ()
) -> tuple[Score, ...]:
    """The task's metrics of what was served and, where there are `expected` answers, of those. None where nothing says what
    would be right."""
    if not questions.labels and not questions.method:
        return ()
    named = replace(questions, labels=tuple(_named(label, labels) for label in questions.labels))
    found = []
    for name, metric in _METRICS.get(task, {}).items():
        lower = name in _LOWER_IS_BETTER
        own, theirs = (metric(answers, named) if len(answers) else None for answers in (served, expected))
        allowed = ALLOWED * (theirs or 0.0) if lower else max(ALLOWED, 1 / len(questions))
        found.append(Score(name, len(questions), own, theirs, allowed, not lower))
    return tuple(found)


def _named(label: Any, labels: Labels) -> Any:
    """A label, or a list of them, that may be given by number."""
    if isinstance(label, list):
        return [_named(one, labels) for one in label]
    number = int(label) if isinstance(label, str) and label.isdigit() else label
    by_number = isinstance(number, int) and label not in labels.values()
    return labels.get(number, label) if by_number else label


def _best(answer: Any) -> Any:
    """The best label of a ranking."""
    first = answer[0] if isinstance(answer, list) else answer
    return first["labels"][0] if "labels" in first else first["label"]


def _tokens(answer: Any) -> list[str]:
    """The tokens for a text's only mask, best first. Raises InputError."""
    if isinstance(answer[0], list):
        raise InputError("labelled texts for fill-mask have one mask each, and one of these has several")
    return [entry["token_str"].strip() for entry in answer]


def _groups(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Entities of tagged words (B-, I-, or the bare type), as (type, first word, last word)."""
    found: set[tuple[str, int, int]] = set()
    begun: tuple[str, int] | None = None
    for index, tag in enumerate([*tags, "O"]):
        prefix, _, rest = tag.partition("-") if tag[:2] in ("B-", "I-") else ("I", "-", tag)
        kind = None if tag == "O" else rest
        if begun and (kind != begun[0] or prefix == "B"):
            found.add((*begun, index - 1))
            begun = None
        if kind and not begun:
            begun = (kind, index)
    return found


def _entities(answers: Sequence[Any], questions: Questions) -> float:
    """F1 of entities, by the words that they cover."""
    found = []
    for answer, text in zip(answers, questions.inputs, strict=True):
        word_of = [text.count(" ", 0, place) for place in range(len(text) + 1)]
        found.append({(one["entity_group"], word_of[one["start"]], word_of[one["end"] - 1]) for one in answer})
    return metrics.set_f1([_groups(tags) for tags in questions.labels], found)


def _of_best(metric: Callable[..., float]) -> Metric:
    return lambda answers, questions: metric(questions.labels, [_best(answer) for answer in answers])


def _of_spans(metric: Callable[..., float]) -> Metric:
    return lambda answers, questions: metric(questions.labels, [answer["answer"] for answer in answers])


def _of_five(read: Callable[[Any], Sequence[str]]) -> Metric:
    return lambda answers, questions: metrics.top_k_accuracy(questions.labels, [read(answer)[:5] for answer in answers])


_CLASSES: Mapping[str, Metric] = {"accuracy": _of_best(metrics.accuracy), "macro F1": _of_best(metrics.macro_f1)}
_RANKED: Mapping[str, Metric] = {
    **_CLASSES,
    "top-5 accuracy": _of_five(lambda answer: [entry["label"] for entry in answer]),
}
#: Task -> name of the metric -> what it is.
_METRICS: Mapping[str, Mapping[str, Metric]] = {
    "text-classification": _CLASSES,
    "zero-shot-classification": _CLASSES,
    "token-classification": {"entity F1": _entities},
    "question-answering": {"exact match": _of_spans(metrics.exact_match), "F1": _of_spans(metrics.span_f1)},
    "fill-mask": {
        "top-1 accuracy": lambda answers, questions: metrics.accuracy(
            questions.labels, [_tokens(answer)[0] for answer in answers]
        ),
        "top-5 accuracy": _of_five(_tokens),
    },
    "sentence-similarity": {
        "Spearman correlation": lambda answers, questions: metrics.spearman(
            [float(label) for label in questions.labels], [answer[0] for answer in answers]
        ),
    },
    "text-generation": {"perplexity": lambda answers, questions: metrics.perplexity(answers)},
    "image-classification": _RANKED,
    "zero-shot-image-classification": _RANKED,
}
_LOWER_IS_BETTER = frozenset({"perplexity"})
