"""The usual design, as a contender: a tokenizer model and the graph, joined by a Triton ensemble."""

from __future__ import annotations

import shutil
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.core.layout import TOKENIZER
from hf2triton.repository.config import to_text

_TOKENIZER_MODEL = """
import os

import numpy as np
import triton_python_backend_utils as triton
from tokenizers import Tokenizer

COMMON_LENGTH = {common_length}


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation({max_length})

    def execute(self, requests):
        texts = [[t.decode() for t in triton.get_input_tensor_by_name(r, "text").as_numpy().ravel()] for r in requests]
        encoded = [self.tokenizer.encode_batch_fast(own) for own in texts]
        longest = max(len(row) for rows in encoded for row in rows)
        responses = []
        for rows in encoded:
            length = longest if COMMON_LENGTH else max(len(row) for row in rows)
            ids, mask = np.zeros((2, len(rows), length), np.int64)
            for index, row in enumerate(rows):
                ids[index, : len(row)] = row.ids
                mask[index, : len(row)] = 1
            tensors = [("input_ids", ids), ("attention_mask", mask), ("token_type_ids", np.zeros_like(ids))]
            responses.append(triton.InferenceResponse([triton.Tensor(name, array) for name, array in tensors]))
        return responses
"""
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_ensemble(repository: Path, name: str, entry: str, common_length: bool, max_length: int = 256) -> None:
    """Adds the ensemble `name` over the graph of `entry` (exported with the runner bls). With `common_length` the texts
    of one batch get one length, so that they merge; without it each text keeps its own, so that there is no padding."""
    version = repository / f"{name}_tokenizer" / "1"
    version.mkdir(parents=True)
    shutil.copy(repository / entry / "1" / TOKENIZER, version / TOKENIZER)
    (version / "model.py").write_text(_TOKENIZER_MODEL.format(common_length=common_length, max_length=max_length))
    tokenizer = pb.ModelConfig(name=f"{name}_tokenizer", backend="python", max_batch_size=64)
    tokenizer.input.add(name="text", data_type=pb.TYPE_STRING, dims=[1])
    for tensor in _INPUTS:
        tokenizer.output.add(name=tensor, data_type=pb.TYPE_INT64, dims=[-1])
    tokenizer.dynamic_batching.max_queue_delay_microseconds = 0
    tokenizer.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    (version.parent / "config.pbtxt").write_text(to_text(tokenizer))

    ensemble = pb.ModelConfig(name=name, platform="ensemble", max_batch_size=64)
    ensemble.input.add(name="text", data_type=pb.TYPE_STRING, dims=[1])
    ensemble.output.add(name="embedding", data_type=pb.TYPE_FP32, dims=[384])
    first = ensemble.ensemble_scheduling.step.add(model_name=tokenizer.name, model_version=-1)
    first.input_map["text"] = "text"
    second = ensemble.ensemble_scheduling.step.add(model_name=f"{entry}_model", model_version=-1)
    second.output_map["embedding"] = "embedding"
    for tensor in _INPUTS:
        first.output_map[tensor] = tensor
        second.input_map[tensor] = tensor
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(to_text(ensemble))
