"""Measures how far apart two sets of tensors are, and checks it against tolerances. The exporter's parity checks use it too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .places import NUMBERED, Places, Worst
from .suspects import Suspects, agree, as_vectors, cosine_of, gone_of, index_of, zeros_of


@dataclass(frozen=True)
class Tolerance:
    """How far a served tensor may be from PyTorch's.

    `max_abs`, `mean_abs`: largest and mean absolute difference. `cosine`: smallest cosine similarity of a row (of a token's
    vector for outputs per token). `argmax`: smallest share of rows whose largest entry is the same. If the two best reference
    entries of a row are within `max_abs` of each other, either one counts as the same. The last two are None if they do not
    apply.
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

    `cosine` and `argmax` are None if they do not apply. `remark`: anything else worth saying. `worst`: the value that the first
    breach is about, or the worst such value; None if there is no breach.
    """

    output: str
    rows: int
    max_abs: float
    mean_abs: float
    cosine: float | None
    argmax: float | None
    breaches: tuple[str, ...]
    remark: str = ""
    worst: Worst | None = None

    @property
    def passed(self) -> bool:
        return not self.breaches

    def to_json(self) -> dict[str, Any]:
        """JSON has no infinity and no NaN, so they become null."""
        fields = asdict(self)
        broken = [name for name, value in fields.items() if isinstance(value, float) and not np.isfinite(value)]
        return fields | dict.fromkeys(broken) | {"passed": self.passed}


#: The largest allowed share of values that become 0. Differences become 0 if fp16 cannot tell the two numbers apart.
MOST_ZEROS = 0.01


def compare(
    output: str, pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]], tolerance: Tolerance, places: Places = NUMBERED
) -> Difference:
    """Compares (reference, served) pairs of arrays `[…, n]`, taken together as vectors of length n.

    A different shape or a value that is not finite is always a breach. Zeros where the reference has none are a breach if a
    whole vector is zero, or if there are more of them than rounding explains. `places`: what the pairs and their axes stand
    for.
    """
    rows = total = broken = agreeing = lost = gone = 0
    max_abs, sum_abs, cosine, breaches = 0.0, 0.0, 1.0, []
    suspects = Suspects()
    for pair, (reference, candidate) in enumerate(pairs):
        suspects.look_at(pair, reference, candidate)
        if reference.shape != candidate.shape:
            suspects.note("shape", 1)
            shapes = f"has shape {list(candidate.shape)}, PyTorch gives {list(reference.shape)}"
            breaches.append(("shape", f"row {places.item(pair)} {shapes}"))
            continue
        reference, candidate = as_vectors(reference, candidate)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            gap = np.abs(reference - candidate)
        rows, total = rows + len(gap), total + gap.size
        unsound = int((~np.isfinite(candidate)).any(axis=-1).sum())
        zeros = zeros_of(reference, candidate)
        zeros_here, gone_here = int(zeros.sum()), int(gone_of(candidate, zeros).sum())
        broken, lost, gone = broken + unsound, lost + zeros_here, gone + gone_here
        largest = gap.max(initial=0)
        max_abs, sum_abs = float(np.maximum(max_abs, largest)), sum_abs + float(gap.sum())
        suspects.note("unsound", min(unsound, 1))  # locates the first such value
        suspects.note("zeros", zeros_here + gone_here * gap.size)
        suspects.note("largest", largest)
        if tolerance.cosine is not None:
            smallest = cosine_of(reference, candidate).min(initial=1)
            cosine = float(np.minimum(cosine, smallest))
            suspects.note("cosine", 1 - smallest)
        if tolerance.argmax is not None:
            agreed = int(agree(reference, candidate, tolerance.max_abs).sum())
            agreeing += agreed
            suspects.note("argmax", int(agreed < len(gap)))
    if not total:
        said = tuple(breach for _, breach in breaches) or ("nothing to compare",)
        worst = suspects.worst("shape", tolerance.max_abs, places)
        return Difference(output, 0, float("inf"), float("inf"), 0.0, None, said, worst=worst)
    if broken:
        breaches.append(("unsound", f"{broken} of {rows} rows hold a NaN or an infinity"))
    if gone or lost > MOST_ZEROS * total:
        whole = f"{lost} of {total} values are 0 where PyTorch's are not, among them {gone} whole rows"
        breaches.append(("zeros", whole))
    mean_abs, agreement = sum_abs / total, agreeing / rows
    limits = [
        ("largest", "largest difference", max_abs, "above", tolerance.max_abs, max_abs <= tolerance.max_abs),
        ("largest", "mean difference", mean_abs, "above", tolerance.mean_abs, mean_abs <= tolerance.mean_abs),
    ]
    if (limit := tolerance.cosine) is not None:
        limits.append(("cosine", "cosine", cosine, "below", limit, cosine >= limit))
    if (limit := tolerance.argmax) is not None:
        limits.append(("argmax", "argmax agreement", agreement, "below", limit, agreement >= limit))
    # `ok` is also false for NaN
    breaches += [
        (kind, f"{name} {value:.3g} is {side} {limit:.3g}") for kind, name, value, side, limit, ok in limits if not ok
    ]
    said, worst = tuple(breach for _, breach in breaches), None
    if breaches:
        worst = suspects.worst(breaches[0][0], tolerance.max_abs, places)
    return Difference(
        output,
        rows,
        max_abs,
        mean_abs,
        None if tolerance.cosine is None else cosine,
        None if tolerance.argmax is None else agreement,
        said,
        worst=worst,
    )


@dataclass(frozen=True)
class Greedy:
    """A text that PyTorch generated greedily: its tokens `[n]`, and the most likely tokens of each step with their logits,
    `[n, k]`, best first."""

    token_ids: NDArray[Any]
    top_ids: NDArray[Any]
    top_logits: NDArray[Any]


def compare_greedy(
    output: str, pairs: Iterable[tuple[Greedy, NDArray[Any]]], tolerance: Tolerance, places: Places = NUMBERED
) -> Difference:
    """Compares greedy texts with the served texts, `[n]` tokens each, up to the first token that differs. After that token, the
    texts are unrelated.

    `max_abs` and `mean_abs` refer to the margins: how much PyTorch preferred its own token to the served token; 0 for equal
    texts. A margin above the tolerance's `max_abs` is a breach, and so is a text that ends early. `argmax`: the share of equal
    texts. `places`: its axes count the tokens of a text and of the vocabulary.
    """
    margins, remarks, breaches = [], [], []
    worst, most = None, -1.0
    for pair, (expected, served) in enumerate(pairs):
        margin, where = _first_difference(expected, served)
        margins.append(margin)
        if where is None:
            continue
        item = places.item(pair)
        remark = f"text {item} is another from token {where} on, where PyTorch prefers its own by {margin:.2g}"
        remarks.append(remark)
        if not margin <= tolerance.max_abs:  # NaN is a breach too
            breaches.append(f"{remark}, which is above {tolerance.max_abs:.3g}")
            if not margin <= most:
                most = float("inf") if margin != margin else margin
                tokens = (_token(ids, where, places) for ids in (expected.token_ids, served))
                worst = places.worst(pair, (where,), 2, *tokens)
    if not margins:
        return Difference(output, 0, float("inf"), float("inf"), None, None, ("nothing to compare",))
    same = 1 - len(remarks) / len(margins)
    mean = float(np.mean(margins))
    said = tuple(breaches)
    return Difference(output, len(margins), max(margins), mean, None, same, said, "; ".join(remarks), worst)


def _token(ids: NDArray[Any], where: int, places: Places) -> str:
    return places.entry(int(ids[where])) if where < len(ids) else "the end of the text"


def finite(output: str, arrays: Iterable[NDArray[Any]], places: Places = NUMBERED) -> Difference:
    """Checks that arrays `[rows, …]` hold no NaN and no infinity, where no reference exists. `places` has a pair for each
    row of all arrays."""
    rows = broken = 0
    worst = None
    for array in arrays:
        unsound = ~np.isfinite(array.reshape(len(array), -1))
        of_rows = unsound.any(axis=-1)
        if worst is None and of_rows.any():
            row = int(of_rows.argmax())
            index = index_of(int(unsound[row].argmax()), array.shape[1:])
            worst = places.worst(rows + row, index, array.ndim - 1, "", f"{float(array[row][index]):g}")
        rows += len(array)
        broken += int(of_rows.sum())
    breaches = [f"{broken} of {rows} rows hold a NaN or an infinity"] if broken else []
    said = tuple(breaches if rows else ["nothing to look at"])
    return Difference(output, rows, 0.0, 0.0, None, None, said, worst=worst)


def _first_difference(expected: Greedy, served: NDArray[Any]) -> tuple[float, int | None]:
    """The margin at the first token that differs, and its position. The margin is infinite if the served token is missing or
    not among the most likely tokens."""
    length = min(len(expected.token_ids), len(served))
    different = np.flatnonzero(expected.token_ids[:length] != served[:length])
    if not different.size:
        return (0.0, None) if len(served) == len(expected.token_ids) else (float("inf"), length)
    first = int(different[0])
    logits = dict(zip(expected.top_ids[first].tolist(), expected.top_logits[first].tolist(), strict=True))
    # PyTorch's token is the best one or equal to it; it may be missing here if more tokens are equal than were recorded
    best = float(expected.top_logits[first, 0])
    return max(best - logits.get(int(served[first]), float("-inf")), 0.0), first
