"""Which models have requests, according to Triton's metrics. Uses only the standard library."""

from __future__ import annotations

import re
from collections import defaultdict

from .loading import Control

#: What a generative model has in progress and has queued; what Triton has queued for any model.
_LIVE = "hf2triton_live_slots"
_GAUGES = (_LIVE, "hf2triton_queue_length", "nv_inference_pending_request_count")
_LINE = re.compile(rf"^({'|'.join(_GAUGES)}){{[^}}]*\bmodel=\"([^\"]+)\"[^}}]*}} (\S+)", re.MULTILINE)


def busy(metrics: str) -> set[str]:
    """The models that have waiting requests. Only generative models also report requests in progress."""
    return {model for model, gauges in _told(metrics).items() if any(gauges.values())}


def generating(metrics: Control, model: str) -> bool:
    """Whether a generative model has requests, or had when its process died: Triton keeps the last values it reported."""
    try:
        gauges = _told(metrics.ask("metrics", timeout=1.0)).get(model, {})
    except OSError:
        return True
    return _LIVE not in gauges or any(gauges.values())


def _told(metrics: str) -> dict[str, dict[str, float]]:
    """Model -> gauge -> its value, summed over all versions."""
    told: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, model, value in _LINE.findall(metrics):
        told[model][name] += float(value)
    return told
