"""Where the graph runs: in this process, or in the onnxruntime backend through a call to another model (BLS)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np


class InProcess:
    """An onnxruntime session in the front's own process. `threads` 0: one for each core this process may use."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        # idle threads that spin would take the cores from tokenizing and from Triton itself
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, output: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._session.run([output], dict(feeds))[0]


class Bls:
    """The model `name`, version `version`, of the same server."""

    def __init__(self, name: str, version: int) -> None:
        self._name = name
        self._version = version

    def run(self, output: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        import triton_python_backend_utils as triton

        answer = triton.InferenceRequest(
            model_name=self._name,
            model_version=self._version,
            requested_output_names=[output],
            inputs=[triton.Tensor(name, array) for name, array in feeds.items()],
        ).exec()
        if answer.has_error():
            raise RuntimeError(answer.error().message())
        return triton.get_output_tensor_by_name(answer, output).as_numpy()


def make_runner(settings: Mapping[str, Any], folder: str, threads: int) -> InProcess | Bls:
    """The runner that an entry's settings ask for: `{"graph": file}` or `{"model": name, "model_version": n}`."""
    if "model" in settings:
        return Bls(settings["model"], settings["model_version"])
    return InProcess(os.path.join(folder, settings["graph"]), threads)
