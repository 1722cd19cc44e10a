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
    two best reference entries lie within `max_abs` of each other agrees with either. None: argmax has no meaning.
    """

    max_abs: float
    mean_abs: float
    cosine: float
    argmax: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """The measured difference of an output over a set of rows, and what exceeded the tolerance (empty: nothing)."""

    output: str
    rows: int
    max_abs: float
    mean_abs: float
    cosine: float
    argmax: float | None
    breaches: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.breaches

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}


def compare(output: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]], tolerance: Tolerance) -> Difference:
    """Compares (reference, served) pairs of arrays `[…, n]`, taken together as vectors of length n.

    A shape that differs, or a value that is not finite, is a breach by itself.
    """
    references, candidates, breaches = [], [], []
    for index, (reference, candidate) in enumerate(pairs):
        if reference.shape != candidate.shape:
            breaches.append(f"row {index} has shape {list(candidate.shape)}, PyTorch gives {list(reference.shape)}")
            continue
        width = reference.shape[-1] if reference.ndim else 1
        references.append(np.asarray(reference, np.float64).reshape(-1, width))
        candidates.append(np.asarray(candidate, np.float64).reshape(-1, width))
    if not references:
        return Difference(output, 0, float("inf"), float("inf"), 0.0, None, tuple(breaches) or ("nothing to compare",))
    reference, candidate = np.concatenate(references), np.concatenate(candidates)
    broken = int((~np.isfinite(candidate)).any(axis=-1).sum())
    if broken:
        breaches.append(f"{broken} of {len(candidate)} rows hold a NaN or an infinity")
    gap = np.abs(reference - candidate)
    max_abs, mean_abs = float(gap.max(initial=0)), float(gap.mean())
    cosine = float(_cosine(reference, candidate).min())
    argmax = None if tolerance.argmax is None else _argmax_agreement(reference, candidate, tolerance.max_abs)
    limits = (
        ("largest difference", max_abs, "above", tolerance.max_abs, max_abs <= tolerance.max_abs),
        ("mean difference", mean_abs, "above", tolerance.mean_abs, mean_abs <= tolerance.mean_abs),
        ("cosine", cosine, "below", tolerance.cosine, cosine >= tolerance.cosine),
        ("argmax agreement", argmax, "below", tolerance.argmax, argmax is None or argmax >= tolerance.argmax),
    )
    # `ok` is false for NaN as well
    breaches += [f"{name} {value:.3g} is {side} {limit:.3g}" for name, value, side, limit, ok in limits if not ok]
    return Difference(output, len(reference), max_abs, mean_abs, cosine, argmax, tuple(breaches))


def _cosine(reference: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Cosine similarity of rows `[rows, n]`; two zero rows count as equal."""
    with np.errstate(invalid="ignore"):  # an infinity has been counted as a breach by now
        norms = np.linalg.norm(reference, axis=-1) * np.linalg.norm(candidate, axis=-1)
        products = (reference * candidate).sum(axis=-1)
        return np.where(norms > 0, products / np.where(norms > 0, norms, 1), (reference == candidate).all(axis=-1))


def _argmax_agreement(reference: np.ndarray, candidate: np.ndarray, margin: float) -> float:
    """The share of rows where the candidate's best entry is the reference's, or as good within `margin`."""
    chosen = np.take_along_axis(reference, candidate.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    return float((reference.max(axis=-1) - chosen <= margin).mean())
