"""Which models have requests, as Triton's metrics tell. The standard library alone."""

from __future__ import annotations

import re
from collections import defaultdict

from .loading import Control

#: What a model that generates has under way, and what it has queued; what Triton has queued for a model of any kind.
_LIVE = "hf2triton_live_slots"
_GAUGES = (_LIVE, "hf2triton_queue_length", "nv_inference_pending_request_count")
_LINE = re.compile(rf"^({'|'.join(_GAUGES)}){{[^}}]*\bmodel=\"([^\"]+)\"[^}}]*}} (\S+)", re.MULTILINE)


def busy(metrics: str) -> set[str]:
    """The models for which requests wait. Those that are under way are told by models that generate alone."""
    return {model for model, gauges in _told(metrics).items() if any(gauges.values())}


def generating(metrics: Control, model: str) -> bool:
    """Whether a model that generates has requests, or had when its process died: Triton keeps what that told last."""
    try:
        gauges = _told(metrics.ask("metrics", timeout=1.0)).get(model, {})
    except OSError:
        return True
    return _LIVE not in gauges or any(gauges.values())


def _told(metrics: str) -> dict[str, dict[str, float]]:
    """Model -> gauge -> its value, of all versions together."""
    told: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, model, value in _LINE.findall(metrics):
        told[model][name] += float(value)
    return told
