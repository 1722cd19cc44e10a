"""Finds the result of each row of a call, even if some rows cannot be run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .outgoing import message

#: Seconds that the repetitions of a call may spend failing, or the time the call itself took to fail if longer. Rows that cannot
#: be run fail within milliseconds; callers should not wait repeatedly for a device that hangs.
PATIENCE = 2.0
#: Exceptions that are not errors of the work that raised them.
EXITS = (KeyboardInterrupt, SystemExit)


class Busy(RuntimeError):
    """A call was not accepted, whatever its rows. Asking again at once would only add to the overload."""


def as_exception(raised: BaseException) -> Exception:
    """Returns what was raised as an Exception, which can be a result. Rust's panics, such as those of tokenizers, are not
    Exceptions."""
    if isinstance(raised, Exception):
        return raised
    error = RuntimeError(f"{type(raised).__name__}: {message(raised)}")
    error.__cause__ = raised
    return error


def each_row(call: Callable[[int, int], Iterable[Any]], rows: int) -> list[Any]:
    """Returns the results of all `rows`, or their errors; `call(start, stop)` returns those of rows `start` to `stop - 1`.

    A failed call is repeated in halves, down to single rows, so a row only fails if it fails alone. `g` failing rows cost at most
    `2 · g · log2(rows)` further calls, each over half the rows of the call before.
    """
    results: list[Any] = [None] * rows
    todo = [(0, rows)] if rows else []
    failing, patience = 0.0, None
    while todo:
        start, stop = todo.pop()
        began = time.monotonic()
        try:
            own = list(call(start, stop))
            if len(own) != stop - start:  # results would end up in the wrong rows
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
