"""config.pbtxt, made through the protobuf that Triton itself reads, so that no key can be misspelt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.served_model import FORMAT, PARAMETER

from ..artifacts import Checkpoint, ExportOptions, Graph
from ..tasks import Task
from .layout import WARMUP, graph_model

#: Bytes of one text that a front takes; its tokenizer would otherwise be the way to keep it busy.
MAX_TEXT_BYTES = 1 << 20
#: Padded tokens of one call of the graph, which bound the memory of its activations.
MAX_TOKENS = 1 << 14
#: Requests that may wait; later ones are refused with UNAVAILABLE rather than kept for ever.
MAX_QUEUE = 4096

#: What every front answers beside the task's output: name -> (type, dims).
_SIDE_OUTPUTS: Mapping[str, tuple[int, list[int]]] = {
    "num_tokens": (pb.TYPE_INT32, [1]),
    "num_truncated_tokens": (pb.TYPE_INT32, [1]),
}
#: And what clients need besides to join word pieces.
_WORD_OUTPUTS: Mapping[str, tuple[int, list[int]]] = {
    "tokens": (pb.TYPE_STRING, [-1]),
    "offsets": (pb.TYPE_INT32, [-1, 2]),
    "special_tokens_mask": (pb.TYPE_INT32, [-1]),
}
#: device -> where the graph's instances run.
_KINDS = {"cpu": pb.ModelInstanceGroup.KIND_CPU, "cuda": pb.ModelInstanceGroup.KIND_GPU}
_WARMUP_TEXTS = ("short", "long")


def client_settings(checkpoint: Checkpoint, graph: Graph, preprocessing: str) -> dict[str, Any]:
    """What clients read from the front's config: the JSON of the parameter `hf2triton`."""
    sides = {name: "token" if dims[0] == -1 else "row" for name, (_, dims) in _sides(checkpoint.task).items()}
    settings: dict[str, Any] = {
        "format": FORMAT,
        "task": checkpoint.task.name,
        "family": checkpoint.family.name,
        "precision": graph.precision,
        "max_length": checkpoint.max_length,
        "max_text_bytes": MAX_TEXT_BYTES,
        "outputs": {graph.output: graph.per, **sides},
        "preprocessing": preprocessing,
        "id2label": {str(index): label for index, label in checkpoint.id2label.items()},
        "problem_type": checkpoint.problem_type,
    }
    if checkpoint.pooling is not None:
        settings |= {"pooling": vars(checkpoint.pooling), "embedding_dim": graph.width}
    if checkpoint.task.joins_words:
        decoder = checkpoint.tokenizer.decoder
        settings |= {
            "decoder": {"prefix": decoder["prefix"], "cleanup": decoder["cleanup"]},
            "unk_token": checkpoint.tokenizer.unk_token,
        }
    return settings


def front_config(
    options: ExportOptions, runner: str, task: Task, graph: Graph, settings: Mapping[str, Any], version: int
) -> pb.ModelConfig:
    """The config of a front that serves `version`; `settings` are the clients'."""
    config = _config(options.name, "python", options.max_batch_size)
    config.version_policy.specific.versions.append(version)
    config.input.add(name="text", data_type=pb.TYPE_STRING, dims=[1])
    config.output.add(name=graph.output, data_type=pb.TYPE_FP32, dims=_output_dims(graph))
    for name, (data_type, dims) in _sides(task).items():
        config.output.add(name=name, data_type=data_type, dims=dims)
    _queue(config)
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    config.parameters[PARAMETER].string_value = json.dumps(settings, ensure_ascii=False, sort_keys=True)
    if runner == "inprocess":
        config.parameters["intra_op_thread_count"].string_value = str(options.threads)
        # with the runner bls, NAME_model warms itself up and may not be there yet when the front loads
        for name in _WARMUP_TEXTS:
            warmup = config.model_warmup.add(name=name, batch_size=1)
            warmup.inputs["text"].CopyFrom(
                pb.ModelWarmup.Input(data_type=pb.TYPE_STRING, dims=[1], input_data_file=f"{name}_text")
            )
    return config


def warmup_files(texts: Mapping[str, str]) -> dict[str, bytes]:
    """The files of a front's warm-up: a STRING tensor is each string's length (4 bytes, little-endian) and its bytes."""
    encoded = {f"{WARMUP}/{name}_text": text.encode() for name, text in texts.items()}
    return {path: len(data).to_bytes(4, "little") + data for path, data in encoded.items()}


def warmup_texts(texts: tuple[str, ...]) -> dict[str, str]:
    """A short and a long text to warm a front up with."""
    ordered = sorted(texts, key=len)
    return dict(zip(_WARMUP_TEXTS, (ordered[len(ordered) // 3], ordered[-1]), strict=True))


def graph_config(options: ExportOptions, graph: Graph) -> pb.ModelConfig:
    """The config of `NAME_model`, for the onnxruntime backend; the last two versions stay loaded for fronts that
    are about to switch."""
    config = _config(graph_model(options.name), "onnxruntime", options.max_batch_size)
    config.version_policy.latest.num_versions = 2
    for name in graph.inputs:
        config.input.add(name=name, data_type=pb.TYPE_INT64, dims=[-1])
    config.output.add(name=graph.output, data_type=pb.TYPE_FP32, dims=_output_dims(graph))
    _queue(config)
    config.instance_group.add(count=1, kind=_KINDS[options.device])
    config.parameters["intra_op_thread_count"].string_value = str(options.threads)
    warmup = config.model_warmup.add(name="zeros", batch_size=1)
    for name in graph.inputs:
        warmup.inputs[name].CopyFrom(pb.ModelWarmup.Input(data_type=pb.TYPE_INT64, dims=[8], zero_data=True))
    return config


def to_text(config: pb.ModelConfig) -> str:
    """The text of a config.pbtxt."""
    return text_format.MessageToString(config, as_utf8=True)


def _sides(task: Task) -> dict[str, tuple[int, list[int]]]:
    return {**_SIDE_OUTPUTS, **(_WORD_OUTPUTS if task.joins_words else {})}


def _config(name: str, backend: str, max_batch_size: int) -> pb.ModelConfig:
    return pb.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)


def _queue(config: pb.ModelConfig) -> None:
    config.dynamic_batching.max_queue_delay_microseconds = 0
    config.dynamic_batching.default_queue_policy.max_queue_size = MAX_QUEUE


def _output_dims(graph: Graph) -> list[int]:
    return [graph.width] if graph.per == "row" else [-1, graph.width]
