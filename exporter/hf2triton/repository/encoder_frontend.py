"""The front of a graph that answers at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from ..checkpoint.preprocessing import reader_settings
from ..core.layout import graph_model
from ..core.memory import MAX_TOKENS, MAX_TOKENS_ON_CPU
from ..engines.device_config import ROUND_TO, Served
from . import config as configs
from .staged_entry import Draft, Front, python_files
from .warmup import run_graph_warmup, warmup_inputs

#: All files of triton_models but what generation needs. Triton looks for a model in model.py.
_CODE = {
    "model.py" if name == "frontend.py" else name: name
    for name in python_files()
    if name not in ("__init__.py", "generation_frontend.py")
}


def encoder_front(draft: Draft, version: int, preprocessing: str) -> Front:
    """The files of a front, or of a front and the model behind it."""
    options = replace(draft.options, max_batch_size=draft.max_batch_size)
    checkpoint, part, graph = draft.checkpoint, draft.part, draft.stored.graph
    warmups = warmup_inputs(part, draft.baseline)
    settings = configs.client_settings(checkpoint, part, graph, preprocessing, options.name)
    config, warmup = configs.front_config(options, checkpoint.task, part, graph, settings, version, warmups)
    graph_config, graph_warmup = _graph_config(draft) if options.runner == "bls" else (None, {})
    return Front(
        config=config,
        code=_CODE,
        settings=_settings(draft, version),
        warmup=warmup,
        graph_config=graph_config,
        graph_warmup=graph_warmup,
    )


def run_warmup(draft: Draft, gpu: bool) -> None:
    """Runs what the model behind the front, if there is one, will be warmed up with; the front's own is what PyTorch was asked.
    Raises ParityError."""
    if draft.options.runner == "bls":
        run_graph_warmup(draft.stored, *_graph_config(draft), gpu)


def _graph_config(draft: Draft) -> tuple[pb.ModelConfig, dict[str, bytes]]:
    """The config of the model behind the front, and the files that it is warmed up with."""
    options = replace(draft.options, max_batch_size=draft.max_batch_size)
    max_length = draft.checkpoint.max_length if draft.part.modality == "text" else None
    return configs.graph_config(draft.part, Served(options, draft.stored.graph, max_length, draft.memory))


def _settings(draft: Draft, version: int) -> dict[str, Any]:
    """What the front reads at its start, see `triton_models/frontend.py`."""
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
            "max_tokens": MAX_TOKENS_ON_CPU if options.device == "cpu" else MAX_TOKENS,
            "round_to": round_to,
        },
        "runner": bls if options.runner == "bls" else {"graph": draft.stored.place},
    }
