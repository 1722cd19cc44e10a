"""What Triton sends to a model when it loads it: items that PyTorch was asked, or calls with the graph's extreme shapes. The
export runs each of them.

The name of a warm-up file contains the digest of its content: files of different versions can lie side by side, and a changed
file is detected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import finite

from ..core.layout import WARMUP, warmup_file
from ..core.types import StoredGraph
from ..errors import ParityError
from ..tasks.base import Endpoint, Inputs
from ..triton_models.inputs import LARGE
from ..triton_models.preprocessors import PREPROCESSORS
from ..triton_models.sessions import open_session

#: Inputs for parameters -> the value that sets none.
_NOTHING = {"parameters": "{}"}
_TYPES = {pb.TYPE_INT64: np.int64, pb.TYPE_FP32: np.float32, pb.TYPE_FP16: np.float16}
#: The rows of a call on the CPU, in place of a GPU's largest batch, which would take minutes.
_ROWS_ON_CPU = 2


def warmup_inputs(endpoint: Endpoint, baseline: Baseline) -> Inputs:
    """A short and a long item of those that PyTorch was asked. They have a value for each input of the frontend, as Triton
    requires: pairs, if it takes pairs."""
    inputs = [name for name in PREPROCESSORS[endpoint.preprocessor].inputs if name not in _NOTHING]
    [group, *_] = [group for group in baseline.groups if set(inputs) <= set(group.inputs)]
    order = sorted(range(len(group)), key=lambda index: sum(len(group.inputs[name][index]) for name in inputs))
    chosen = (order[len(order) // 3], order[-1])
    return {
        name: tuple(_NOTHING[name] if name in _NOTHING else group.inputs[name][index] for index in chosen)
        for name in PREPROCESSORS[endpoint.preprocessor].inputs
    }


def add_frontend_warmup(config: pb.ModelConfig, warmups: Inputs) -> dict[str, bytes]:
    """Adds a sample for each item; returns the files that the samples read. A STRING tensor contains each string's length (4
    bytes, little-endian) and its bytes."""
    files = {}
    for index in range(len(next(iter(warmups.values())))):
        warmup = config.model_warmup.add(name=f"sample-{index}", batch_size=1)
        for name, values in warmups.items():
            value = values[index]
            data = value.encode() if isinstance(value, str) else value
            content = len(data).to_bytes(4, "little") + data
            file = warmup_file(f"{index}_{name}", content)
            files[f"{WARMUP}/{file}"] = content
            warmup.inputs[name].CopyFrom(pb.ModelWarmup.Input(data_type=pb.TYPE_STRING, dims=[1], input_data_file=file))
        # Triton rejects a sample that omits an input
        warmup.inputs[LARGE].CopyFrom(pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=[1], zero_data=True))
    return files


def run_graph_warmup(stored: StoredGraph, config: pb.ModelConfig, files: Mapping[str, bytes], gpu: bool) -> None:
    """Runs each warm-up sample of the graph's model as Triton will, with `gpu` on the GPU. Raises ParityError."""
    session = open_session(str(stored.path), "cuda" if gpu else "cpu", 0, 0)
    for sample in config.model_warmup:
        rows = sample.batch_size if gpu else min(sample.batch_size, _ROWS_ON_CPU)
        try:
            arrays = session.run(None, dict(_feeds(sample, files, rows)))
        except Exception as error:  # onnxruntime's errors have no common base but Exception
            raise ParityError(f"the graph fails in the warm-up sample {sample.name}: {error}") from error
        _require_finite(sample.name, arrays)


def _require_finite(name: str, arrays: Sequence[NDArray[Any]]) -> None:
    for breach in (breach for array in arrays for breach in finite(name, [array]).breaches):
        raise ParityError(f"the graph gives NaN or infinity in the warm-up sample {name}: {breach}")


def _feeds(sample: pb.ModelWarmup, files: Mapping[str, bytes], rows: int) -> Iterator[tuple[str, Any]]:
    for name, value in sample.inputs.items():
        dtype, dims = _TYPES[value.data_type], tuple(value.dims)
        if value.zero_data:
            yield name, np.zeros((rows, *dims), dtype)
        else:
            own = np.frombuffer(files[f"{WARMUP}/{value.input_data_file}"], dtype).reshape(dims)
            yield name, np.broadcast_to(own, (rows, *dims)).copy()
