"""What to try after parity failed: the first remedy in a table that fits the failure and that the user has not tried yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hf2triton_client.evaluation.compare import Tolerance

from ..core.options import ExportOptions
from ..core.types import ParityCheck

#: How names of checks on the GPU begin, and how names of checks of the user's inputs end.
ON_GPU, CALIBRATION = "on the GPU: ", "calibration inputs"
#: Kind of input -> what `--calibration` takes.
_OWN = {"text": "a file of your own texts, one a line", "image": "a folder of your own images"}


@dataclass(frozen=True)
class ParityRequest:
    """What the user asked for: the resolved options, the frontend's modality, and its task's tolerances for the precision
    (output -> tolerance)."""

    options: ExportOptions
    modality: str
    tolerances: Mapping[str, Tolerance]


@dataclass(frozen=True)
class _Remedy:
    """`fits`: whether the remedy may help and the user has not tried it."""

    fits: Callable[[ParityRequest, ParityCheck], bool]
    text: str


def _within_task(asked: ParityRequest, check: ParityCheck) -> bool:
    """Whether the user's tolerances failed but the task's would have passed."""
    one, own = check.difference, asked.tolerances.get(check.difference.output)
    if not asked.options.tolerances or own is None or not one.rows:
        return False
    return (
        one.max_abs <= own.max_abs
        and one.mean_abs <= own.mean_abs
        and (own.cosine is None or one.cosine is None or one.cosine >= own.cosine)
        and (own.argmax is None or one.argmax is None or one.argmax >= own.argmax)
        and all(
            " is above " in breach or " is below " in breach for breach in one.breaches
        )  # not a NaN, zeros or a wrong shape
    )


_REMEDIES = (
    _Remedy(_within_task, "The task's own tolerances would pass: leave out those that you gave, or give larger ones"),
    _Remedy(
        lambda asked, check: asked.options.precision_plan is not None and asked.options.precision != "fp32",
        "Leave out --precision-plan: the export then finds by itself what must stay fp32",
    ),
    _Remedy(
        lambda asked, check: asked.options.precision == "int8" and asked.options.calibration is None,
        "Try --calibration with {own}, or --precision fp16",
    ),
    _Remedy(lambda asked, check: asked.options.precision == "int8", "Try --precision fp16"),
    _Remedy(
        lambda asked, check: asked.options.precision == "fp16" and asked.options.calibration is None,
        "Try --precision fp32, or --calibration with {own}",
    ),
    _Remedy(lambda asked, check: asked.options.precision == "fp16", "Try --precision fp32"),
    _Remedy(
        lambda asked, check: check.name.endswith(CALIBRATION),
        "In fp32 it is the model itself that gives no number: leave this row out of --calibration",
    ),
    _Remedy(lambda asked, check: asked.options.attention != "standard", "Try --attention standard"),
    _Remedy(lambda asked, check: check.name.startswith(ON_GPU), "Try --device cpu: there the graph is right"),
    _Remedy(lambda asked, check: asked.options.release is not None, "Leave out --release: it rewrites the graph"),
    _Remedy(
        lambda asked, check: asked.options.adapter is not None,
        "Try the source without --adapter, which tells whether the adapter is the cause",
    ),
)
#: The advice if no remedy fits.
_REPORT = (
    "No other option is left to try. Either the checkpoint gives other answers each time it is asked, or this is a bug of"
    " hf2triton: report it, with the file that --report FILE.json writes"
)


def advice_of(asked: ParityRequest, check: ParityCheck) -> str:
    """What to try next, in one sentence without a full stop."""
    text = next((remedy.text for remedy in _REMEDIES if remedy.fits(asked, check)), _REPORT)
    return text.format(own=_OWN[asked.modality])
