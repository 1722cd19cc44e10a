"""Makes config.pbtxt with Triton's own protobuf, which rules out misspelt keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.pipelines.token_decoders import decoder_settings
from hf2triton_client.transport.served_model import FORMAT, PARAMETER

from ..checkpoint.parts import tokenizer_of
from ..checkpoint.preprocessing import MAX_IMAGE_BYTES, MAX_PIXELS, MAX_TEXT_BYTES
from ..checkpoint.tokenizer import marks_subwords
from ..core.embedding import SIMILARITIES, SentenceFolder, Splade, TokenVectors
from ..core.layout import frontend_name, graph_model
from ..core.options import ResolvedOptions
from ..core.ranking import CrossEncoderFolder
from ..core.types import Checkpoint, Graph, GraphOutput, LabelSimilarity, Tokenizer
from ..engines.base import Served
from ..engines.common.model_config import (
    DTYPES,
    add_providers,
    add_warmup,
    frontend_batching,
    frontend_instances,
    graph_batching,
    graph_instances,
)
from ..tasks.base import Endpoint, Inputs, Task
from ..triton_models.fingerprint import OUTPUT
from ..triton_models.inputs import LARGE
from ..triton_models.preprocessors import PREPROCESSORS
from .warmup import add_frontend_warmup

#: What frontends return in addition to the graph's outputs: name -> (type, dims, per).
_ANSWERS: Mapping[str, tuple[int, list[int], str]] = {
    OUTPUT: (pb.TYPE_INT64, [1], "row"),
    "num_tokens": (pb.TYPE_INT32, [1], "row"),
    "num_truncated_tokens": (pb.TYPE_INT32, [1], "row"),
    "num_masks": (pb.TYPE_INT32, [1], "row"),
    "num_weights": (pb.TYPE_INT32, [1], "row"),
    "answers": (pb.TYPE_STRING, [1], "row"),
    "token_ids": (pb.TYPE_INT32, [-1], "weight"),
    "token_weights": (pb.TYPE_FP32, [-1], "weight"),
    "token_strings": (pb.TYPE_STRING, [-1], "weight"),
    "tokens": (pb.TYPE_STRING, [-1], "token"),
    "offsets": (pb.TYPE_INT32, [-1, 2], "token"),
    "special_tokens_mask": (pb.TYPE_INT32, [-1], "token"),
}
#: kind of preprocessor -> those that it returns.
_OF_PREPROCESSOR = {
    "text": ("num_tokens", "num_truncated_tokens"),
    "pair": ("num_tokens", "num_truncated_tokens"),
    "question": ("num_tokens", "answers"),
    "sentence": ("num_tokens", "num_truncated_tokens"),
    "sparse-text": (
        *("num_tokens", "num_truncated_tokens", "num_weights"),
        *("token_ids", "token_weights", "token_strings"),
    ),
    "masked-text": ("num_tokens", "num_truncated_tokens", "num_masks", "answers"),
    "image": (),
}
#: Outputs that are embeddings of texts or of their tokens.
_EMBEDDINGS = ("embedding", "sparse_embedding", "token_embeddings")
#: The ones that clients also need to join word pieces.
_OF_WORDS = ("tokens", "offsets", "special_tokens_mask")


def common_settings(checkpoint: Checkpoint, graph: Graph, preprocessing: str) -> dict[str, Any]:
    """The settings that clients read from every frontend."""
    return {
        "format": FORMAT,
        "task": checkpoint.task.name,
        "family": checkpoint.family.name,
        "precision": graph.precision,
        "preprocessing": preprocessing,
        "checkpoint": _checkpoint_digest(checkpoint),
        "id2label": {str(index): label for index, label in checkpoint.id2label.items()},
        "problem_type": checkpoint.problem_type,
    }


def _checkpoint_digest(checkpoint: Checkpoint) -> str:
    """A digest that identifies the weights that an entry was made from, including an adapter's."""
    merged = checkpoint.adapter["digests"] if checkpoint.adapter else {}
    about = json.dumps([dict(checkpoint.source.digests), dict(merged)], sort_keys=True)
    return f"sha256:{hashlib.sha256(about.encode()).hexdigest()}"


def common_config(name: str, max_batch_size: int, version: int, settings: Mapping[str, Any]) -> pb.ModelConfig:
    """The common beginning of every frontend's config; `settings` are the clients'."""
    config = _config(name, "python", max_batch_size)
    config.version_policy.specific.versions.append(version)
    config.parameters[PARAMETER].string_value = json.dumps(settings, ensure_ascii=False, sort_keys=True)
    return config


def client_settings(
    checkpoint: Checkpoint, endpoint: Endpoint, graph: Graph, preprocessing: str, name: str
) -> dict[str, Any]:
    """What clients read from the frontend's config: the JSON of the parameter `hf2triton`. `name`: of the entry."""
    task = checkpoint.task
    settings: dict[str, Any] = {
        **common_settings(checkpoint, graph, preprocessing),
        "inputs": {**PREPROCESSORS[endpoint.preprocessor].inputs, LARGE: False},
        "outputs": {
            **{output.name: output.per for output in graph.outputs},
            **{answer: _ANSWERS[answer][2] for answer in _answers(task, endpoint)},
        },
    }
    if endpoint.modality == "text":
        settings |= {"max_length": checkpoint.max_length, "max_bytes": MAX_TEXT_BYTES}
    else:
        settings |= {"max_bytes": MAX_IMAGE_BYTES, "max_pixels": MAX_PIXELS}
    if endpoint.suffix:
        settings |= {"fronts": {other.modality: frontend_name(name, other) for other in task.endpoints}}
    if checkpoint.similarity is not None:
        settings |= _label_settings(checkpoint.similarity)
    if checkpoint.sentences is not None:
        settings |= _sentence_settings(checkpoint.sentences)
    if checkpoint.ranking is not None:
        settings |= _ranking_settings(checkpoint.ranking)
    embeddings = [output.dims[0] for output in graph.outputs if output.name in _EMBEDDINGS]
    if embeddings:
        settings |= {"embedding_dim": embeddings[0]}
    if task.joins_words:
        settings |= _word_settings(tokenizer_of(checkpoint))
    return settings


def _word_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """How tokens are joined into words; omits what is usual."""
    settings = {"decoder": decoder_settings(tokenizer.decoder), "unk_token": tokenizer.unk_token}
    return settings if marks_subwords(tokenizer) else settings | {"marks_subwords": False}


def _label_settings(similarity: LabelSimilarity) -> dict[str, Any]:
    """How the scores of labels follow from embeddings; omits what is usual."""
    settings: dict[str, Any] = {"logit_scale": similarity.scale}
    if similarity.bias:
        settings |= {"logit_bias": similarity.bias}
    if similarity.function != "softmax":
        settings |= {"function_to_apply": similarity.function}
    return settings


def _sentence_settings(sentences: SentenceFolder) -> dict[str, Any]:
    """How embeddings are made and compared; omits what is usual."""
    settings: dict[str, Any] = {"pooling": _pooling_settings(sentences)}
    if sentences.similarity != SIMILARITIES[0]:
        settings |= {"similarity": sentences.similarity}
    if sentences.has_prompts:
        settings |= {"prompts": dict(sentences.prompts), "default_prompt_name": sentences.default_prompt_name}
    return settings


def _ranking_settings(ranking: CrossEncoderFolder) -> dict[str, Any]:
    """How pairs are scored; omits prompts if they are all empty."""
    settings: dict[str, Any] = {"activation": ranking.activation}
    if any(ranking.prompts.values()):
        settings |= {"prompts": dict(ranking.prompts), "default_prompt_name": ranking.default_prompt_name}
    return settings


def _pooling_settings(sentences: SentenceFolder) -> dict[str, Any]:
    pooling = sentences.pooling
    if isinstance(pooling, Splade):
        return {"mode": f"splade {pooling.strategy}", "activation": pooling.activation, "most": pooling.max_active_dims}
    if isinstance(pooling, TokenVectors):
        return {"mode": "tokens"}
    truncated = {} if pooling.truncate_dim is None else {"truncate_dim": pooling.truncate_dim}
    return {"mode": "+".join(pooling.modes), "normalize": pooling.normalizes, **truncated}


def frontend_config(
    options: ResolvedOptions,
    task: Task,
    endpoint: Endpoint,
    graph: Graph,
    settings: Mapping[str, Any],
    version: int,
    warmups: Inputs,
) -> tuple[pb.ModelConfig, dict[str, bytes]]:
    """The config of a frontend that serves `version`, and its warm-up files; `settings` are the clients'."""
    config = common_config(frontend_name(options.name, endpoint), options.max_batch_size, version, settings)
    for name, required in PREPROCESSORS[endpoint.preprocessor].inputs.items():
        config.input.add(name=name, data_type=pb.TYPE_STRING, dims=[1], optional=not required)
    config.input.add(name=LARGE, data_type=pb.TYPE_UINT8, dims=[1], optional=True)
    for output in graph.outputs:
        config.output.add(name=output.name, data_type=pb.TYPE_FP32, dims=_dims(output))
    for name in _answers(task, endpoint):
        config.output.add(name=name, data_type=_ANSWERS[name][0], dims=_ANSWERS[name][1])
    config.dynamic_batching.CopyFrom(frontend_batching(options))
    config.instance_group.add(count=frontend_instances(options), kind=pb.ModelInstanceGroup.KIND_CPU)
    if options.response_cache:
        config.response_cache.enable = True
    if options.runner == "bls":  # NAME_model warms itself up, and may not be loaded before the frontend
        return config, {}
    config.parameters["intra_op_thread_count"].string_value = str(options.threads)
    return config, add_frontend_warmup(config, warmups)


def graph_config(endpoint: Endpoint, served: Served) -> tuple[pb.ModelConfig, dict[str, bytes]]:
    """The config of `NAME_model`, for the onnxruntime backend, and its warm-up files. The last two versions stay loaded for
    frontends that are about to switch."""
    options, graph = served.options, served.graph
    config = _config(graph_model(frontend_name(options.name, endpoint)), "onnxruntime", options.max_batch_size)
    config.version_policy.latest.num_versions = 2
    for value in graph.inputs:
        config.input.add(name=value.name, data_type=DTYPES[value.dtype], dims=_free(value.dims[1:]))
    for output in graph.outputs:
        config.output.add(name=output.name, data_type=pb.TYPE_FP32, dims=_dims(output))
    config.dynamic_batching.CopyFrom(graph_batching(options))
    config.instance_group.append(graph_instances(options))
    config.parameters["intra_op_thread_count"].string_value = str(options.threads)
    add_providers(config, served)
    return config, add_warmup(config, served)


def to_text(config: pb.ModelConfig) -> str:
    """The text of a config.pbtxt."""
    return text_format.MessageToString(config, as_utf8=True)


def _answers(task: Task, endpoint: Endpoint) -> tuple[str, ...]:
    return (OUTPUT, *_OF_PREPROCESSOR[endpoint.preprocessor], *(_OF_WORDS if task.joins_words else ()))


def _config(name: str, backend: str, max_batch_size: int) -> pb.ModelConfig:
    return pb.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)


def _dims(output: GraphOutput) -> list[int]:
    return [*([] if output.per == "row" else [-1]), *output.dims]


def _free(dims: Sequence[int | str]) -> list[int]:
    return [dim if isinstance(dim, int) else -1 for dim in dims]
