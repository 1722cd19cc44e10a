"""Where the graph runs: in this process, or in the onnxruntime backend through a call to another model (BLS).

An executor takes the inputs of several calls. For each row of each call, it returns what is kept of the outputs, or the row's
error. Before each call it asks whether anybody waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .callers import Gone
from .outgoing import message
from .rows import Busy, each_row
from .sessions import session_options

#: The graph's inputs, each `[rows, …]`.
Feeds = Mapping[str, NDArray[Any]]
#: What is kept of each row, or its error.
Rows = list[Any | Exception]
#: Whether anybody waits for the call with this index.
Awaited = Callable[[int], bool]
#: Returns what is kept of a row. Takes the index of the row's call, its place there, and its part of the requested outputs, in
#: order. Several threads call it at the same time. Whatever it does not keep is gone when the call ends.
Keep = Callable[[int, int, Sequence[NDArray[Any]]], Any]


def _always(index: int) -> bool:
    return True


def _all(call: int, row: int, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    return arrays


class InProcessExecutor:
    """Runs onnxruntime in the frontend's process. `threads` 0: one for each core this process may use.

    Calls can run side by side, with one thread each. Then threads need not wait for each other within a call, which takes long on
    cores that are shared with Triton and its clients. Or calls run one after another, with all threads. Each way has its own
    session, so the weights are in memory twice unless there is only one thread.
    """

    def __init__(self, path: str, threads: int) -> None:
        self.workers = threads or len(os.sched_getaffinity(0))
        self._wide = open_session(path, self.workers)
        self._narrow = open_session(path, 1) if self.workers > 1 else self._wide
        self._pool = ThreadPoolExecutor(self.workers)

    def run(
        self,
        outputs: Sequence[str],
        calls: Sequence[Feeds],
        side_by_side: bool,
        awaited: Awaited = _always,
        keep: Keep = _all,
    ) -> list[Rows]:
        session = self._narrow if side_by_side else self._wide

        def call(index: int) -> Rows:
            rows = _by_row(lambda part: session.run(list(outputs), dict(part)), calls[index], awaited(index))
            return _kept(rows, index, keep)

        # a free thread takes the next call: cores are shared with Triton and its clients, so no thread is sure to have one
        return list((self._pool.map if side_by_side else map)(call, range(len(calls))))


class BlsExecutor:
    """Runs the model `name`, version `version`, on the same server. Calls run one after another."""

    workers = 1

    def __init__(self, name: str, version: int) -> None:
        self._name = name
        self._version = version

    def run(
        self,
        outputs: Sequence[str],
        calls: Sequence[Feeds],
        side_by_side: bool,
        awaited: Awaited = _always,
        keep: Keep = _all,
    ) -> list[Rows]:
        return [
            _kept(_by_row(lambda part: self._answer(outputs, part), feeds, awaited(index)), index, keep)
            for index, feeds in enumerate(calls)
        ]

    def _answer(self, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
        import triton_python_backend_utils as triton

        answer = triton.InferenceRequest(
            model_name=self._name,
            model_version=self._version,
            requested_output_names=list(outputs),
            inputs=[triton.Tensor(name, array) for name, array in feeds.items()],
        ).exec()
        if answer.has_error():
            error = answer.error()
            busy = error.code() == triton.TritonError.UNAVAILABLE  # not loaded, or its queue is full
            raise (Busy if busy else RuntimeError)(message(error.message()))
        return [triton.get_output_tensor_by_name(answer, name).as_numpy() for name in outputs]


def make_executor(settings: Mapping[str, Any], folder: Path, threads: int) -> InProcessExecutor | BlsExecutor:
    """Makes the executor that an entry's settings ask for: `{"graph": file}` or `{"model": name, "model_version": n}`."""
    if "model" in settings:
        return BlsExecutor(settings["model"], settings["model_version"])
    return InProcessExecutor(str(folder / settings["graph"]), threads)


def open_session(path: str, threads: int) -> Any:
    """Opens a CPU session with `threads` threads per call (0: one for each core)."""
    import onnxruntime

    return onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])


def _by_row(run: Callable[[Feeds], list[NDArray[Any]]], feeds: Feeds, awaited: bool) -> Rows:
    """Returns the result of `run` for each row of a call; `run` accepts any part of the rows."""
    rows = len(next(iter(feeds.values())))
    if not awaited:
        return [Gone()] * rows

    def call(start: int, stop: int) -> list[tuple[NDArray[Any], ...]]:
        part = feeds if stop - start == rows else {name: array[start:stop] for name, array in feeds.items()}
        return list(zip(*run(part), strict=True))

    return each_row(call, rows)


def _kept(rows: Rows, call: int, keep: Keep) -> Rows:
    return [row if isinstance(row, Exception) else keep(call, place, row) for place, row in enumerate(rows)]
