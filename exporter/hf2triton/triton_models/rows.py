"""What a call over several rows gives each of them, where some of the rows cannot be run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .outgoing import message

#: Seconds that the repetitions of a call may spend on failing, or as long as the call itself took to fail if that is longer. Rows
#: that cannot be run fail within milliseconds; for a device that hangs nobody waits again and again.
PATIENCE = 2.0
#: What is no error of the work that raised it.
EXITS = (KeyboardInterrupt, SystemExit)


class Busy(RuntimeError):
    """A call was not taken, whatever its rows: asking again at once would add to what is too much already."""


def as_exception(raised: BaseException) -> Exception:
    """What was raised, for those who handle results. Rust's panics, such as those of tokenizers, are not even an Exception."""
    if isinstance(raised, Exception):
        return raised
    error = RuntimeError(f"{type(raised).__name__}: {message(raised)}")
    error.__cause__ = raised
    return error


def each_row(call: Callable[[int, int], Sequence[Any]], rows: int) -> list[Any]:
    """What `call(start, stop)` gives the rows `start` to `stop - 1`, for all `rows`, each with its own result or its own error.

    A call that fails is repeated by halves, down to single rows, so that only those fail that fail alone. `g` rows that fail cost
    at most `2 · g · log2(rows)` further calls, each over half the rows of the one before.
    """
    results: list[Any] = [None] * rows
    todo = [(0, rows)] if rows else []
    failing, patience = 0.0, None
    while todo:
        start, stop = todo.pop()
        began = time.monotonic()
        try:
            own = list(call(start, stop))
            if len(own) != stop - start:  # the others' results would move
                raise RuntimeError(f"{stop - start} rows gave {len(own)} results")
            results[start:stop] = own
            continue
        except EXITS:
            raise
        except BaseException as raised:  # onnxruntime's errors have no common base
            error = as_exception(raised)
        seconds = time.monotonic() - began
        if patience is None:
            patience = max(PATIENCE, seconds)
        else:
            failing += seconds
        if isinstance(error, Busy) or failing >= patience:
            for begin, end in [(start, stop), *todo]:
                results[begin:end] = [error] * (end - begin)
            break
        if stop - start == 1:
            results[start] = error
        else:
            middle = (start + stop) // 2
            todo += [(middle, stop), (start, middle)]
    return results
