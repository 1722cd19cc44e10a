"""Where the graph runs: in this process, or in the onnxruntime backend through a call to another model (BLS).

A runner takes the inputs of several calls and gives for each its outputs, or the error it ended in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .sessions import session_options

Feeds = Mapping[str, np.ndarray]
#: The outputs that were asked for, in that order.
Arrays = list[np.ndarray]


class InProcess:
    """onnxruntime in the front's own process. `threads` 0: one for each core this process may use.

    Calls can run side by side, one thread each: that needs no waiting for each other within a call, which cores that are
    shared with Triton and its clients make long. Or one after another, with all threads. Each way has its own session,
    so the weights are in memory twice, unless there is only one thread.
    """

    def __init__(self, path: str, threads: int) -> None:
        self.workers = threads or len(os.sched_getaffinity(0))
        self._wide = open_session(path, self.workers)
        self._narrow = open_session(path, 1) if self.workers > 1 else self._wide
        self._pool = ThreadPoolExecutor(self.workers)

    def run(self, outputs: Sequence[str], calls: Sequence[Feeds], side_by_side: bool) -> list[Arrays | Exception]:
        if not side_by_side:
            return [_result(self._wide, outputs, feeds) for feeds in calls]
        # whoever is free takes the next call: cores are shared with Triton and its clients, so none can be sure of one
        return list(self._pool.map(lambda feeds: _result(self._narrow, outputs, feeds), calls))


class Bls:
    """The model `name`, version `version`, of the same server; its calls go one after another."""

    workers = 1

    def __init__(self, name: str, version: int) -> None:
        self._name = name
        self._version = version

    def run(self, outputs: Sequence[str], calls: Sequence[Feeds], side_by_side: bool) -> list[Arrays | Exception]:
        import triton_python_backend_utils as triton

        results: list[Arrays | Exception] = []
        for feeds in calls:
            answer = triton.InferenceRequest(
                model_name=self._name,
                model_version=self._version,
                requested_output_names=list(outputs),
                inputs=[triton.Tensor(name, array) for name, array in feeds.items()],
            ).exec()
            failed = answer.has_error()
            results.append(
                RuntimeError(answer.error().message())
                if failed
                else [triton.get_output_tensor_by_name(answer, name).as_numpy() for name in outputs]
            )
        return results


def make_runner(settings: Mapping[str, Any], folder: str, threads: int) -> InProcess | Bls:
    """The runner that an entry's settings ask for: `{"graph": file}` or `{"model": name, "model_version": n}`."""
    if "model" in settings:
        return Bls(settings["model"], settings["model_version"])
    return InProcess(os.path.join(folder, settings["graph"]), threads)


def open_session(path: str, threads: int) -> Any:
    """A CPU session with `threads` threads to a call (0: one for each core)."""
    import onnxruntime

    return onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])


def _result(session: Any, outputs: Sequence[str], feeds: Feeds) -> Arrays | Exception:
    try:
        return session.run(list(outputs), dict(feeds))
    except Exception as error:  # onnxruntime's errors have no common base but Exception
        return error
