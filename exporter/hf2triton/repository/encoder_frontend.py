"""The frontend of a graph that answers in one call."""

from __future__ import annotations

from dataclasses import replace

from tritonclient.grpc import model_config_pb2 as pb

from ..checkpoint.preprocessing import longest_row, preprocessor_settings
from ..core.frontend_settings import CallLimits, EncoderSettings, GraphFile, GraphModel
from ..core.layout import graph_model
from ..engines import ENGINES
from ..engines.base import Served
from . import config as configs
from .staged_entry import FrontendFiles, StagedEntry, python_files
from .warmup import run_graph_warmup, warmup_inputs

#: The most bytes of a call's logits over the vocabulary on a CPU. On a GPU, the estimate of its memory limits the batch.
_LOGITS_BYTES = 1 << 28
#: All files of triton_models except those for generation. Triton looks for a model in model.py.
_CODE = {
    "model.py" if name == "frontend.py" else name: name
    for name in python_files()
    if name not in ("__init__.py", "generation_frontend.py")
}


def encoder_frontend(staged: StagedEntry, version: int, preprocessing: str) -> FrontendFiles:
    """The files of a frontend, and of the model behind it if there is one."""
    options = replace(staged.options, max_batch_size=staged.max_batch_size)
    checkpoint, endpoint, graph = staged.checkpoint, staged.endpoint, staged.stored.graph
    warmups = warmup_inputs(endpoint, staged.baseline)
    settings = configs.client_settings(checkpoint, endpoint, graph, preprocessing, options.name)
    config, warmup = configs.frontend_config(options, checkpoint.task, endpoint, graph, settings, version, warmups)
    graph_config, graph_warmup = _graph_config(staged) if options.runner == "bls" else (None, {})
    return FrontendFiles(
        config=config,
        code=_CODE,
        settings=_settings(staged, version),
        warmup=warmup,
        graph_config=graph_config,
        graph_warmup=graph_warmup,
    )


def run_warmup(staged: StagedEntry, gpu: bool) -> None:
    """Runs the warm-up of the model behind the frontend, if there is one. The frontend's own warm-up needs no run: it consists of
    inputs that PyTorch was asked. Raises ParityError."""
    if staged.options.runner == "bls":
        run_graph_warmup(staged.stored, *_graph_config(staged), gpu)


def _graph_config(staged: StagedEntry) -> tuple[pb.ModelConfig, dict[str, bytes]]:
    """The config of the model behind the frontend, and its warm-up files."""
    options = replace(staged.options, max_batch_size=staged.max_batch_size)
    max_length = longest_row(staged.checkpoint, staged.endpoint)
    return configs.graph_config(
        staged.endpoint, Served(options, ENGINES[options.device], staged.stored.graph, max_length, staged.memory)
    )


def _max_tokens(staged: StagedEntry) -> int:
    """The padded tokens of a call. If each token has logits over the vocabulary, a CPU's calls hold fewer."""
    engine = ENGINES[staged.options.device]
    vocabulary = [output.dims[0] for output in staged.stored.graph.outputs if output.name == "sparse_embedding"]
    if engine.gpu or not vocabulary:
        return engine.max_tokens
    return max(1, min(engine.max_tokens, _LOGITS_BYTES // (4 * vocabulary[0])))


def _settings(staged: StagedEntry, version: int) -> EncoderSettings:
    """The settings that the frontend reads when it starts."""
    options = staged.options
    calls = GraphModel(model=graph_model(staged.name), model_version=version)
    engine = ENGINES[options.device]
    return EncoderSettings(
        outputs={output.name: output.per for output in staged.stored.graph.outputs},
        reader=preprocessor_settings(staged.checkpoint, staged.endpoint, engine.round_to),
        limits=CallLimits(
            call_price=staged.call_overhead or 0,
            max_rows=staged.max_batch_size,
            max_tokens=_max_tokens(staged),
            round_to=engine.round_to,
        ),
        runner=calls if options.runner == "bls" else GraphFile(graph=staged.stored.place),
    )
