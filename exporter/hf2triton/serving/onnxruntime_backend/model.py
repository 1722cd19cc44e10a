"""The onnxruntime backend of the embedded Triton: a Python-based backend that serves `VERSION/model.onnx`.

It stands in for the container's C++ backend (https://github.com/triton-inference-server/onnxruntime_backend) and is equally
strict, so what loads here also loads there. From hf2triton it only imports two of the frontends' files, which are copied beside
it (see staging.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton
from memory import reuse_blocks
from outgoing import message

#: onnxruntime's type names -> config.pbtxt's.
TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
#: The C++ backend's integer parameters -> the session option and its lowest value. The C++ backend reads them with stoi, so it
#: refuses an empty value; it ignores other parameters.
NUMBERS = {
    "intra_op_thread_count": ("intra_op_num_threads", 0),
    "inter_op_thread_count": ("inter_op_num_threads", 0),
    "execution_mode": ("execution_mode", 0),
    "enable_mem_arena": ("enable_cpu_mem_arena", 0),
    "enable_mem_pattern": ("enable_mem_pattern", 0),
}
#: Parameters of a config for the CUDA provider -> how they are written there.
CUDA: Mapping[str, Callable[[str], str | None]] = {
    "gpu_mem_limit": str,
    "arena_extend_strategy": {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"}.get,
    "cudnn_conv_algo_search": {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}.get,
    "do_copy_in_default_stream": str,
}


class TritonPythonModel:
    """Named and shaped as Triton's Python backend requires."""

    def initialize(self, args: dict[str, str]) -> None:
        reuse_blocks()
        config = json.loads(args["model_config"])
        self.batched = int(config.get("max_batch_size") or 0) > 0
        path = _graph_path(config, Path(args["model_repository"], args["model_version"]))
        try:
            self.session = onnxruntime.InferenceSession(path, _options(config), providers=_providers(config, args))
        except Exception as error:  # onnxruntime's errors have no common base except Exception
            raise triton.TritonModelException(f"onnx runtime error: {message(error)}") from None
        _check(config, self.session, self.batched)
        # the C++ backend answers in alphabetical order: use names
        self.outputs = sorted(output["name"] for output in config["output"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        groups = [requests] if self.batched else [[request] for request in requests]
        return [response for group in groups for response in self._responses(group)]

    def _responses(self, requests: Sequence[Any]) -> list[Any]:
        """The responses to requests that run together. As in C++, a request that cannot run fails all requests merged with it."""
        try:
            feeds = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
            wanted = [set(request.requested_output_names()) for request in requests]
            names = [name for name in self.outputs if name in set().union(*wanted)]
            merged = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
            results: Sequence[Any] = self.session.run(names, merged if len(feeds) > 1 else feeds[0])
            arrays = dict(zip(names, results, strict=True))
            responses, begin = [], 0
            for feed, asked in zip(feeds, wanted, strict=True):
                own = {name: array for name, array in arrays.items() if name in asked}
                if self.batched:
                    end = begin + len(next(iter(feed.values())))
                    own, begin = {name: array[begin:end] for name, array in own.items()}, end
                tensors = [triton.Tensor(name, np.ascontiguousarray(array)) for name, array in own.items()]
                responses.append(triton.InferenceResponse(tensors))
            return responses
        except BaseException as error:
            text = f"onnx runtime error: {message(error)}"
            return [
                triton.InferenceResponse(error=triton.TritonError(text, triton.TritonError.INTERNAL)) for _ in requests
            ]


def _graph_path(config: Mapping[str, Any], folder: Path) -> Path:
    """The graph's file. A folder with its name holds the file and its external data."""
    name = config.get("default_model_filename") or "model.onnx"
    path = folder / name
    if path.is_dir():
        path = path / "model.onnx"
    if not path.is_file():
        raise triton.TritonModelException(f"unable to find '{path}' for model '{config['name']}'")
    return path


def _providers(config: Mapping[str, Any], args: Mapping[str, str]) -> list[Any]:
    """The CPU, preceded by CUDA for instances on a GPU, with the options that the C++ backend passes on: those of the
    accelerator, and a few of the config's parameters. There is no TensorRT."""
    if args["model_instance_kind"] != "GPU":
        return ["CPUExecutionProvider"]
    onnxruntime.preload_dlls()
    accelerators = config.get("optimization", {}).get("execution_accelerators", {}).get("gpu_execution_accelerator", [])
    options: dict[str, str | None] = {"device_id": args["model_instance_device_id"]}
    for accelerator in accelerators:
        if accelerator["name"] != "cuda":
            raise triton.TritonModelException(
                f"the embedded Triton has no {accelerator['name']}; serve it in the container"
            )
        options |= accelerator.get("parameters", {})
    parameters = config.get("parameters", {})
    options |= {name: of(parameters[name]["string_value"]) for name, of in CUDA.items() if name in parameters}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _options(config: Mapping[str, Any]) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # unlike in the container, the server's other models share these few cores
    options.add_session_config_entry("session.force_spinning_stop", "1")
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = LEVELS.get(level, LEVELS[0])
    for name, parameter in config.get("parameters", {}).items():
        if name not in NUMBERS:
            continue
        attribute, lowest = NUMBERS[name]
        text = parameter.get("string_value", "")
        try:
            value = int(text)
            if value < lowest or (name == "execution_mode" and value > 1):
                raise ValueError
        except ValueError:
            raise triton.TritonModelException(f"parameter '{name}' of '{config['name']}' cannot be {text!r}") from None
        if attribute == "execution_mode":
            options.execution_mode = onnxruntime.ExecutionMode(value)
        elif attribute.startswith("enable"):
            setattr(options, attribute, bool(value))
        elif value:
            setattr(options, attribute, value)
    return options


def _check(config: Mapping[str, Any], session: onnxruntime.InferenceSession, batched: bool) -> None:
    """Compares the config with the graph, as strictly as the C++ backend. Raises TritonModelException."""
    name = config["name"]
    for kind, described, actual in (
        ("input", config["input"], session.get_inputs()),
        ("output", config["output"], session.get_outputs()),
    ):
        known = {tensor.name: tensor for tensor in actual}
        if kind == "input" and len(described) != len(known):
            _refuse(name, f"configuration expects {len(described)} inputs, model provides {len(known)}")
        for tensor in described:
            if tensor["name"] not in known:
                _refuse(
                    name,
                    f"unexpected inference {kind} '{tensor['name']}', allowed {kind}s are: {', '.join(sorted(known))}",
                )
            if tensor.get("optional"):
                _refuse(name, f"{kind} '{tensor['name']}' cannot be optional")
            real = known[tensor["name"]]
            if TYPES.get(real.type) != tensor["data_type"]:
                _refuse(name, f"{kind} '{tensor['name']}' is {tensor['data_type']}, model provides {real.type}")
            wanted = [-1] * batched + [int(dim) for dim in tensor["dims"]]
            given = [dim if isinstance(dim, int) else -1 for dim in real.shape]
            # an input may be narrower than the graph's free dimension; an output must match the graph
            fits = len(wanted) == len(given) and all(
                graph == own or (graph == -1 and kind == "input") for graph, own in zip(given, wanted, strict=True)
            )
            if not fits:
                _refuse(name, f"{kind} '{tensor['name']}' has shape {wanted}, model provides {given}")


def _refuse(name: str, reason: str) -> None:
    raise triton.TritonModelException(f"unable to load model '{name}', {reason}")
