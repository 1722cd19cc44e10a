"""The metrics for labelled data, by their usual definitions."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy(expected: Sequence[Hashable], given: Sequence[Hashable]) -> float:
    """The share of right answers."""
    return float(np.mean([one == other for one, other in zip(expected, given, strict=True)]))


def top_k_accuracy(expected: Sequence[Hashable], given: Sequence[Collection[Hashable]]) -> float:
    """The share of rows whose right answer is among the given answers."""
    return float(np.mean([one in others for one, others in zip(expected, given, strict=True)]))


def macro_f1(expected: Sequence[Hashable], given: Sequence[Hashable]) -> float:
    """The mean of each label's F1, over the labels that occur on either side (scikit-learn's `f1_score(average="macro")`)."""
    right = Counter(one for one, other in zip(expected, given, strict=True) if one == other)
    counts = Counter(expected) + Counter(given)
    return float(np.mean([2 * right[label] / count for label, count in counts.items()]))


def set_f1(expected: Sequence[Collection[Hashable]], given: Sequence[Collection[Hashable]]) -> float:
    """F1 of all given items against all expected items, such as entities with their positions (seqeval's micro average). It
    is 1 if both are empty."""
    found = sum(len(set(one) & set(other)) for one, other in zip(expected, given, strict=True))
    total = sum(map(len, expected)) + sum(map(len, given))
    return 2 * found / total if total else 1.0


def exact_match(expected: Sequence[Sequence[str]], given: Sequence[str]) -> float:
    """SQuAD's exact match: the share of answers that equal a right answer, normalised. If there is no right answer, "" is
    right."""
    return float(np.mean([_best(_equal, right, answer) for right, answer in zip(expected, given, strict=True)]))


def span_f1(expected: Sequence[Sequence[str]], given: Sequence[str]) -> float:
    """SQuAD's F1: the mean F1 of an answer's words against the words of the closest right answer."""
    return float(np.mean([_best(_overlap, right, answer) for right, answer in zip(expected, given, strict=True)]))


def perplexity(logprobs: Sequence[Sequence[float]]) -> float:
    """e to the mean negative log probability of all tokens of all texts."""
    every = [value for own in logprobs for value in own]
    return float(np.exp(-np.mean(every)))


def spearman(expected: Sequence[float], given: Sequence[float]) -> float:
    """Spearman's rank correlation. Equal values share their mean rank. NaN if all values on one side are equal."""
    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(_ranks(expected), _ranks(given))[0, 1])


def ndcg(relevance: Sequence[Sequence[float]], scores: Sequence[Sequence[float]], k: int) -> float:
    """The mean normalised discounted cumulative gain of the first `k` documents of each query (scikit-learn's `ndcg_score`).
    Documents with equal scores share their mean gain. 0 for a query without relevant documents."""
    return float(np.mean([_ndcg(own, of, k) for own, of in zip(relevance, scores, strict=True)]))


def reciprocal_rank(relevance: Sequence[Sequence[float]], scores: Sequence[Sequence[float]], k: int) -> float:
    """The mean of 1 / the rank of the first relevant document, 0 if none is among the first `k` (MRR@k)."""
    return float(np.mean([_reciprocal_rank(own, of, k) for own, of in zip(relevance, scores, strict=True)]))


def average_precision(relevance: Sequence[Sequence[float]], scores: Sequence[Sequence[float]]) -> float:
    """The mean over queries of the average precision (MAP; scikit-learn's `average_precision_score`). Documents with equal scores
    are retrieved together. 0 for a query without relevant documents."""
    return float(np.mean([_average_precision(own, of) for own, of in zip(relevance, scores, strict=True)]))


def normalised_answer(text: str) -> str:
    """Normalises as SQuAD 2.0's evaluation script does: lower case, without punctuation, articles and extra spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _best(measure: Callable[[str, str], float], right: Sequence[str], answer: str) -> float:
    # as in SQuAD 2.0's script, right answers that are empty after normalisation do not count
    texts = [text for text in map(normalised_answer, right) if text] or [""]
    return max(measure(text, normalised_answer(answer)) for text in texts)


def _equal(one: str, other: str) -> float:
    return float(one == other)


def _overlap(one: str, other: str) -> float:
    words, others = one.split(), other.split()
    if not words or not others:
        return float(words == others)
    common = sum((Counter(words) & Counter(others)).values())
    return 2 * common / (len(words) + len(others))


def _ndcg(relevance: Sequence[float], scores: Sequence[float], k: int) -> float:
    gains, discounts = np.asarray(relevance, float), 1 / np.log2(np.arange(len(scores)) + 2)
    discounts[k:] = 0
    best = float(np.sort(gains)[::-1] @ discounts)
    _, groups, counts = np.unique(-np.asarray(scores), return_inverse=True, return_counts=True)
    mean_gains = np.bincount(groups, gains) / counts
    return float(np.repeat(mean_gains, counts) @ discounts) / best if best else 0.0


def _reciprocal_rank(relevance: Sequence[float], scores: Sequence[float], k: int) -> float:
    order = np.argsort(-np.asarray(scores), kind="stable")[:k]
    return next((1 / rank for rank, index in enumerate(order, 1) if relevance[index] > 0), 0.0)


def _average_precision(relevance: Sequence[float], scores: Sequence[float]) -> float:
    relevant = np.asarray(relevance) > 0
    _, groups, counts = np.unique(-np.asarray(scores), return_inverse=True, return_counts=True)
    found = np.bincount(groups, relevant)
    precision = np.cumsum(found) / np.cumsum(counts)
    return float(precision @ found / relevant.sum()) if relevant.any() else 0.0


def _ranks(values: Sequence[float]) -> NDArray[Any]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[places]
