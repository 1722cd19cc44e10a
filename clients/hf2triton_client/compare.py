"""How far two sets of tensors lie apart, and how far they may. The exporter's parity uses these too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """How far a served tensor may lie from PyTorch's.

    `max_abs`, `mean_abs`: largest and mean absolute difference. `cosine`: smallest cosine similarity of a row (of a
    token's vector for outputs per token). `argmax`: smallest share of rows whose largest entry is the same; a row whose
    two best reference entries lie within `max_abs` of each other agrees with either. None, for the last two: it has no meaning.
    """

    max_abs: float
    mean_abs: float
    cosine: float | None
    argmax: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """The measured difference of an output over a set of rows, and what exceeded the tolerance (empty: nothing).

    `cosine` and `argmax` are None where they have no meaning. `remark`: what else there is to say of it.
    """

    output: str
    rows: int
    max_abs: float
    mean_abs: float
    cosine: float | None
    argmax: float | None
    breaches: tuple[str, ...]
    remark: str = ""

    @property
    def passed(self) -> bool:
        return not self.breaches

    def to_json(self) -> dict[str, Any]:
        """JSON has no infinity and no NaN: they become null."""
        fields = asdict(self)
        broken = [name for name, value in fields.items() if isinstance(value, float) and not np.isfinite(value)]
        return fields | dict.fromkeys(broken) | {"passed": self.passed}


#: The smallest number that fp16 tells from 0. What is closer to 0 may be lost without notice.
_SMALLEST = 2.0**-24
#: The largest share of values that may become 0, as differences of numbers that fp16 cannot tell apart do.
MOST_ZEROS = 0.01


def compare(output: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]], tolerance: Tolerance) -> Difference:
    """Compares (reference, served) pairs of arrays `[…, n]`, taken together as vectors of length n.

    A shape that differs, or a value that is not finite, is a breach by itself, and so are zeros where the reference has none:
    a vector of nothing else, or more of them than rounding explains.
    """
    rows = total = broken = agreeing = lost = gone = 0
    max_abs, sum_abs, cosine, breaches = 0.0, 0.0, 1.0, []
    for index, (reference, candidate) in enumerate(pairs):
        if reference.shape != candidate.shape:
            breaches.append(f"row {index} has shape {list(candidate.shape)}, PyTorch gives {list(reference.shape)}")
            continue
        width = reference.shape[-1] if reference.ndim else 1
        reference, candidate = (np.asarray(one, np.float64).reshape(-1, width) for one in (reference, candidate))
        with np.errstate(invalid="ignore"):  # of two infinities
            gap = np.abs(reference - candidate)
        rows, total = rows + len(gap), total + gap.size
        broken += int((~np.isfinite(candidate)).any(axis=-1).sum())
        zeros = (candidate == 0) & (np.abs(reference) > _SMALLEST)
        lost += int(zeros.sum())
        gone += int(((candidate == 0).all(axis=-1) & zeros.any(axis=-1)).sum()) if width > 1 else 0
        max_abs, sum_abs = float(np.maximum(max_abs, gap.max(initial=0))), sum_abs + float(gap.sum())
        if tolerance.cosine is not None:
            cosine = float(np.minimum(cosine, _cosine(reference, candidate).min(initial=1)))
        if tolerance.argmax is not None:
            agreeing += _argmax_agreement(reference, candidate, tolerance.max_abs)
    if not total:
        return Difference(output, 0, float("inf"), float("inf"), 0.0, None, tuple(breaches) or ("nothing to compare",))
    if broken:
        breaches.append(f"{broken} of {rows} rows hold a NaN or an infinity")
    if gone or lost > MOST_ZEROS * total:
        breaches.append(f"{lost} of {total} values are 0 where PyTorch's are not, among them {gone} whole rows")
    mean_abs = sum_abs / total
    cosine = None if tolerance.cosine is None else cosine
    argmax = None if tolerance.argmax is None else agreeing / rows
    limits = (
        ("largest difference", max_abs, "above", tolerance.max_abs, max_abs <= tolerance.max_abs),
        ("mean difference", mean_abs, "above", tolerance.mean_abs, mean_abs <= tolerance.mean_abs),
        ("cosine", cosine, "below", tolerance.cosine, cosine is None or cosine >= tolerance.cosine),
        ("argmax agreement", argmax, "below", tolerance.argmax, argmax is None or argmax >= tolerance.argmax),
    )
    # `ok` is false for NaN as well
    breaches += [f"{name} {value:.3g} is {side} {limit:.3g}" for name, value, side, limit, ok in limits if not ok]
    return Difference(output, rows, max_abs, mean_abs, cosine, argmax, tuple(breaches))


@dataclass(frozen=True)
class Greedy:
    """A text that PyTorch generated greedily: its tokens `[n]`, and of each step the likeliest tokens and their logits,
    `[n, k]`, the best first."""

    token_ids: np.ndarray
    top_ids: np.ndarray
    top_logits: np.ndarray


def compare_greedy(output: str, pairs: Iterable[tuple[Greedy, np.ndarray]], tolerance: Tolerance) -> Difference:
    """Compares greedy texts with what was served, `[n]` tokens each, up to the first token that is another one: after it
    the texts have nothing to do with each other.

    `max_abs` and `mean_abs` are of the margins: by how much PyTorch preferred its own token to the one served, 0 for texts
    that are the same throughout; a margin above the tolerance's `max_abs` is a breach, and so is a text that ends early.
    `argmax`: the share of texts that are the same.
    """
    margins, remarks, breaches = [], [], []
    for index, (expected, served) in enumerate(pairs):
        margin, where = _first_difference(expected, served)
        margins.append(margin)
        if where is None:
            continue
        remark = f"text {index} is another from token {where} on, where PyTorch prefers its own by {margin:.2g}"
        remarks.append(remark)
        if not margin <= tolerance.max_abs:  # NaN is a breach as well
            breaches.append(f"{remark}, which is above {tolerance.max_abs:.3g}")
    if not margins:
        return Difference(output, 0, float("inf"), float("inf"), None, None, ("nothing to compare",))
    same = 1 - len(remarks) / len(margins)
    mean = float(np.mean(margins))
    return Difference(output, len(margins), max(margins), mean, None, same, tuple(breaches), "; ".join(remarks))


def finite(output: str, arrays: Iterable[np.ndarray]) -> Difference:
    """Whether arrays `[rows, …]` hold no NaN and no infinity; there is nothing to compare them with."""
    rows = broken = 0
    for array in arrays:
        rows += len(array)
        broken += int((~np.isfinite(array.reshape(len(array), -1))).any(axis=-1).sum())
    breaches = [f"{broken} of {rows} rows hold a NaN or an infinity"] if broken else []
    return Difference(output, rows, 0.0, 0.0, None, None, tuple(breaches if rows else ["nothing to look at"]))


def _first_difference(expected: Greedy, served: np.ndarray) -> tuple[float, int | None]:
    """The margin at the first token that differs, and where that is; a token that is none of the likeliest, or is not
    there, has an infinite one."""
    length = min(len(expected.token_ids), len(served))
    different = np.flatnonzero(expected.token_ids[:length] != served[:length])
    if not different.size:
        return (0.0, None) if len(served) == len(expected.token_ids) else (float("inf"), length)
    first = int(different[0])
    logits = dict(zip(expected.top_ids[first].tolist(), expected.top_logits[first].tolist(), strict=True))
    # PyTorch's own is the best, or equal to it and, where more are equal than are recorded, perhaps not among them
    best = float(expected.top_logits[first, 0])
    return max(best - logits.get(int(served[first]), float("-inf")), 0.0), first


def _cosine(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Cosine similarity of rows `[rows, n]`; two zero rows count as equal."""
    with np.errstate(invalid="ignore"):  # an infinity has been counted as a breach by now
        norms = np.linalg.norm(reference, axis=-1) * np.linalg.norm(candidate, axis=-1)
        products = (reference * candidate).sum(axis=-1)
        return np.where(norms > 0, products / np.where(norms > 0, norms, 1), (reference == candidate).all(axis=-1))


def _argmax_agreement(reference: np.ndarray, candidate: np.ndarray, margin: float) -> int:
    """In how many rows the candidate's best entry is the reference's, or as good within `margin`."""
    chosen = np.take_along_axis(reference, candidate.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    with np.errstate(invalid="ignore"):  # of two infinities
        return int((reference.max(axis=-1) - chosen <= margin).sum())
