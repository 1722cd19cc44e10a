"""The frontend of a graph that generates token by token."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from ..checkpoint.parts import generation_config_of, max_length_of, tokenizer_config_of, tokenizer_of
from ..checkpoint.preprocessing import MAX_TEXT_BYTES
from ..core.frontend_settings import DecoderSettings
from ..engines.common.model_config import graph_instances
from ..triton_models.fingerprint import OUTPUT
from ..triton_models.generation.generation_config import settings_of
from .config import common_config, common_settings
from .staged_entry import FrontendFiles, StagedEntry, python_files

#: The number of a prompt's tokens that run at once, while requests that are generating wait.
PREFILL_CHUNK = 64
TOKENIZER_CONFIG = "tokenizer_config.json"

#: Files that encoder frontends contain too.
_SHARED = (
    "clean_up.py",
    "fingerprint.py",
    "inputs.py",
    "long_texts.py",
    "memory.py",
    "outgoing.py",
    "parameters.py",
    "pieces.py",
    "rows.py",
    "sessions.py",
)
_CODE = {
    "model.py": "generation_frontend.py",
    **{name: name for name in _SHARED},
    **{f"generation/{name}": f"generation/{name}" for name in python_files("generation")},
}
#: name -> (type, dims, whether it is required)
_INPUTS = {
    "text_input": (pb.TYPE_STRING, [1], True),
    "stream": (pb.TYPE_BOOL, [1], False),
    "sampling_parameters": (pb.TYPE_STRING, [1], False),
    "exclude_input_in_output": (pb.TYPE_BOOL, [1], False),
}
#: name -> (type, dims); the first dimension counts the sequences of a request.
_OUTPUTS = {
    "text_output": (pb.TYPE_STRING, [-1]),
    "finish_reason": (pb.TYPE_STRING, [-1]),
    "num_input_tokens": (pb.TYPE_INT32, [1]),
    "num_output_tokens": (pb.TYPE_INT32, [-1]),
    "token_ids": (pb.TYPE_INT32, [-1, -1]),
    "prompt_logprobs": (pb.TYPE_FP32, [-1]),
    OUTPUT: (pb.TYPE_INT64, [1]),
}


def decoder_frontend(staged: StagedEntry, version: int, preprocessing: str) -> FrontendFiles:
    """The files of a model that holds graph, tokenizer and scheduler."""
    checkpoint = staged.checkpoint
    return FrontendFiles(
        config=_config(staged, version, preprocessing),
        code=_CODE,
        settings=DecoderSettings(
            graph=staged.stored.place,
            in_place=staged.stored.graph.shares_buffer,
            onnxruntime=staged.stored.first_onnxruntime,
            context=max_length_of(checkpoint),
            max_bytes=MAX_TEXT_BYTES,
            clean_up=tokenizer_of(checkpoint).clean_up,
            generation=dict(generation_config_of(checkpoint)),
            parameters=list(_parameters(staged)),
        ),
        more={TOKENIZER_CONFIG: tokenizer_config_of(checkpoint).encode(), **staged.more},
    )


def _parameters(staged: StagedEntry) -> dict[str, int]:
    """The parameters that operators may change in config.pbtxt. `max_length`: of a slot; 0 means the model's context."""
    return {
        "slots": staged.max_batch_size,
        "max_length": 0,
        "max_queue": staged.options.max_queue,
        "prefill_chunk": PREFILL_CHUNK,
        "intra_op_thread_count": staged.options.threads,
    }


def _config(staged: StagedEntry, version: int, preprocessing: str) -> pb.ModelConfig:
    config = common_config(staged.name, 0, version, _client_settings(staged, preprocessing))
    config.model_transaction_policy.decoupled = True
    for name, (dtype, dims, required) in _INPUTS.items():
        config.input.add(name=name, data_type=dtype, dims=dims, optional=not required)
    for name, (dtype, dims) in _OUTPUTS.items():
        config.output.add(name=name, data_type=dtype, dims=dims)
    config.instance_group.append(graph_instances(staged.options))
    for name, value in _parameters(staged).items():
        config.parameters[name].string_value = str(value)
    return config


def _client_settings(staged: StagedEntry, preprocessing: str) -> dict[str, Any]:
    """What clients read from the frontend's config: the JSON of the parameter `hf2triton`."""
    checkpoint = staged.checkpoint
    settings = settings_of(generation_config_of(checkpoint))
    defaults = {name: value for name, value in settings.items() if value is not None}
    return {
        **common_settings(checkpoint, staged.stored.graph, preprocessing),
        "inputs": {name: required for name, (_, _, required) in _INPUTS.items()},
        "outputs": dict.fromkeys(_OUTPUTS, "sequence"),
        "max_bytes": MAX_TEXT_BYTES,
        "max_length": checkpoint.max_length,
        "generation": {"slots": staged.max_batch_size, "defaults": defaults},
    }
