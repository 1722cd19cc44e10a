"""The front of a graph that answers at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..baseline import reader_settings
from . import config as configs
from .device_config import ROUND_TO, Served
from .draft import Draft, Front, python_files
from .layout import graph_model
from .memory import MAX_TOKENS

#: All files of `fronts/` but what generation needs.
_CODE = {name: name for name in python_files() if name not in ("__init__.py", "generation_model.py")}


def encoder_front(draft: Draft, version: int, preprocessing: str) -> Front:
    """The files of a front, or of a front and the model behind it."""
    options = replace(draft.options, max_batch_size=draft.max_batch_size)
    checkpoint, part, graph = draft.checkpoint, draft.part, draft.stored.graph
    warmups = configs.warmup_inputs(part, draft.baseline.inputs)
    settings = configs.client_settings(checkpoint, part, graph, preprocessing, options.name)
    config = configs.front_config(options, checkpoint.task, part, graph, settings, version, warmups)
    bls = options.runner == "bls"
    graph_config, graph_warmup = None, {}
    if bls:
        max_length = checkpoint.max_length if part.modality == "text" else None
        graph_config, graph_warmup = configs.graph_config(part, Served(options, graph, max_length, draft.memory))
    return Front(
        config=config,
        code=_CODE,
        settings=_settings(draft, version),
        warmup={} if bls else configs.warmup_files(warmups),
        graph_config=graph_config,
        graph_warmup=graph_warmup,
    )


def _settings(draft: Draft, version: int) -> dict[str, Any]:
    """What the front reads at its start, see `fronts/model.py`."""
    options = draft.options
    bls = {"model": graph_model(draft.name), "model_version": version}
    # tensor cores want multiples of 8; on a CPU they would only be padding
    round_to = 1 if options.device == "cpu" else ROUND_TO
    return {
        "outputs": {output.name: output.per for output in draft.stored.graph.outputs},
        "reader": reader_settings(draft.checkpoint, draft.part, round_to),
        "limits": {
            "call_price": draft.call_price,
            "max_rows": draft.max_batch_size,
            "max_tokens": MAX_TOKENS,
            "round_to": round_to,
        },
        "runner": bls if options.runner == "bls" else {"graph": draft.stored.place},
    }
