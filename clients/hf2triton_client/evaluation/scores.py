"""Scores answers against right answers: the metrics of each task, for the served model and for PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from ..errors import InputError
from . import metrics
from .questions import Questions
from .results import Score

#: How much worse than PyTorch a served model may be: one row or a hundredth of the rows; for perplexity, a hundredth of it.
ALLOWED = 0.01
#: Margin for rounding: 0.9 - 0.89 is more than 0.01.
_ROUNDING = 1e-9

#: id -> name, for a head's labels.
Labels = Mapping[int, str]
#: Computes a metric from answers and from questions with right answers.
Metric = Callable[[Sequence[Any], Questions], float]


def scores_of(
    task: str, questions: Questions, labels: Labels, served: Sequence[Any], expected: Sequence[Any] = ()
) -> tuple[Score, ...]:
    """The task's metrics for the served answers and, if there are any, for the `expected` answers. Empty if the right answers
    are unknown.

    `labels`: the model's labels; the questions may refer to them by number. Raises InputError if the model has none of the
    questions' labels.
    """
    if not questions.labels and not questions.method:
        return ()
    if task in _OF_THE_MODEL:
        questions = replace(questions, labels=tuple(_named(label, labels) for label in questions.labels))
        _check_known(questions.labels, labels)
    found = []
    for name, metric in _METRICS.get(task, {}).items():
        pytorch = metric(expected, questions) if len(expected) else None
        allowed = _allowed(name, questions, pytorch) + _ROUNDING
        found.append(
            Score(name, len(questions), metric(served, questions), pytorch, allowed, name not in _LOWER_IS_BETTER)
        )
    return tuple(found)


def _allowed(metric: str, questions: Questions, pytorch: float | None) -> float:
    """How much worse than PyTorch's a metric may be."""
    if metric in _LOWER_IS_BETTER:
        return ALLOWED * (pytorch or 0.0)
    row = 1 / len(questions)
    if metric == _MACRO_F1:
        # a row of a rare label counts for more: at most 2 / (n + 1), if it is one of n and the others are right
        counts = Counter(questions.labels)
        row = 2 / (min(counts.values()) + 1) / len(counts)
    return max(ALLOWED, row)


def _named(label: Any, labels: Labels) -> Any:
    """A label or a list of labels by name. They may be given by number."""
    if isinstance(label, list):
        return [_named(one, labels) for one in label]
    if isinstance(label, str) and (label in labels.values() or not label.isdecimal()):
        return label
    return labels.get(int(label), label)


def _check_known(given: Sequence[Any], labels: Labels) -> None:
    """Raises InputError if no label or kind of entity is known to the model: a score of rows that can never be right is
    meaningless."""
    every = {label for own in given for label in (own if isinstance(own, list) else [own])} - {"O"}
    if every and {_kind(str(label)) for label in every}.isdisjoint(map(_kind, labels.values())):
        raise InputError(
            f"the rows have the labels {', '.join(sorted(map(str, every))[:20])}, and none of them is one of the model's:"
            f" {', '.join(labels.values())}"
        )


def _kind(tag: str) -> str:
    """The kind of entity that a tag names, in the pipeline's form. A label without a dash is its own kind."""
    return tag.split("-", 1)[-1]


def _best(answer: Any) -> Any:
    """The best label of a ranking."""
    first = answer[0] if isinstance(answer, list) else answer
    return first["labels"][0] if "labels" in first else first["label"]


def _tokens(answer: Any) -> list[str]:
    """The tokens for the only mask of a text, best first. Raises InputError."""
    if isinstance(answer[0], list):
        raise InputError("labelled texts for fill-mask have one mask each, and one of these has several")
    return [entry["token_str"].strip() for entry in answer]


def _groups(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Entities of tagged words (B-, I-, or the bare kind), as (kind, first word, last word). They are grouped as in the
    pipeline: a word continues its neighbour's entity if its tag is the same and does not begin with B-."""
    found: set[tuple[str, int, int]] = set()
    first = 0
    for index in range(1, len(tags) + 1):
        goes_on = (
            index < len(tags) and not tags[index].startswith("B-") and _bare(tags[index]) == _bare(tags[index - 1])
        )
        if not goes_on:
            found.add((_kind(tags[first]), first, index - 1))
            first = index
    return {group for group in found if tags[group[1]] != "O"}


def _bare(tag: str) -> str:
    """A tag without B- or I-."""
    return tag[2:] if tag[:2] in ("B-", "I-") else tag


def _entities(answers: Sequence[Any], questions: Questions) -> float:
    """F1 of entities, by the words they cover."""
    found = []
    for answer, text in zip(answers, questions.inputs, strict=True):
        # words are separated by spaces: for each character, how many words have ended before it
        word_of = list(accumulate((character == " " for character in text), initial=0))
        found.append({(one["entity_group"], word_of[_begin(text, one)], word_of[one["end"] - 1]) for one in answer})
    return metrics.set_f1([_groups(tags) for tags in questions.labels], found)


def _begin(text: str, entity: Mapping[str, Any]) -> int:
    """Where an entity's first word begins: the offsets of some tokenizers include the space before it."""
    start, end = entity["start"], entity["end"]
    return next((index for index in range(start, end) if text[index] != " "), start)


def _similarity(answers: Sequence[Any], questions: Questions) -> float:
    """Spearman's correlation. Raises InputError if all labels are the same."""
    if len(set(questions.labels)) < 2:
        raise InputError("sentence-similarity needs rows with different labels: nothing else has a rank")
    return metrics.spearman(questions.labels, [answer[0] for answer in answers])


def _of_rankings(metric: Callable[..., float], **options: Any) -> Metric:
    def score(answers: Sequence[Any], questions: Questions) -> float:
        scores = [{entry["index"]: entry["score"] for entry in answer} for answer in answers]
        return metric(questions.labels, [[own[index] for index in range(len(own))] for own in scores], **options)

    return score


def _of_best(metric: Callable[..., float]) -> Metric:
    return lambda answers, questions: metric(questions.labels, [_best(answer) for answer in answers])


def _of_spans(metric: Callable[..., float]) -> Metric:
    return lambda answers, questions: metric(questions.labels, [answer["answer"] for answer in answers])


def _of_five(read: Callable[[Any], Sequence[str]]) -> Metric:
    return lambda answers, questions: metrics.top_k_accuracy(questions.labels, [read(answer)[:5] for answer in answers])


_MACRO_F1 = "macro F1"
_CLASSES: Mapping[str, Metric] = {"accuracy": _of_best(metrics.accuracy), _MACRO_F1: _of_best(metrics.macro_f1)}
_RANKED: Mapping[str, Metric] = {
    **_CLASSES,
    "top-5 accuracy": _of_five(lambda answer: [entry["label"] for entry in answer]),
}
#: Task -> metric name -> metric.
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
    "rerank": {
        "NDCG@10": _of_rankings(metrics.ndcg, k=10),
        "MRR@10": _of_rankings(metrics.reciprocal_rank, k=10),
        "MAP": _of_rankings(metrics.average_precision),
    },
    "sentence-similarity": {"Spearman correlation": _similarity},
    "text-generation": {"perplexity": lambda answers, questions: metrics.perplexity(answers)},
    "image-classification": _RANKED,
    "zero-shot-image-classification": _RANKED,
}
_LOWER_IS_BETTER = frozenset({"perplexity"})
#: Tasks whose labels are those of the model's head. Labels of other tasks are texts, numbers, or chosen by callers.
_OF_THE_MODEL = frozenset({"text-classification", "token-classification", "image-classification"})
