"""The result of each row of a call over several rows, even if some of the rows cannot be run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .outgoing import message

#: Seconds that the repetitions of a call may spend on failing, or as long as the call itself took to fail if that is longer. Rows
#: that cannot be run fail within milliseconds; nobody should wait again and again for a device that hangs.
PATIENCE = 2.0
#: Exceptions that are not errors of the work that raised them.
EXITS = (KeyboardInterrupt, SystemExit)


class Busy(RuntimeError):
    """A call was not accepted, whatever its rows: asking again at once would only add to the overload."""


def as_exception(raised: BaseException) -> Exception:
    """What was raised, as an Exception that can be a result. Rust's panics, such as those of tokenizers, are not Exceptions."""
    if isinstance(raised, Exception):
        return raised
    error = RuntimeError(f"{type(raised).__name__}: {message(raised)}")
    error.__cause__ = raised
    return error


def each_row(call: Callable[[int, int], Iterable[Any]], rows: int) -> list[Any]:
    """The results of all `rows`, or their own errors, where `call(start, stop)` gives those of rows `start` to `stop - 1`.

    A failed call is repeated in halves, down to single rows, so that only rows fail that fail alone. `g` failing rows cost at
    most `2 · g · log2(rows)` further calls, each over half the rows of the one before.
    """
    results: list[Any] = [None] * rows
    todo = [(0, rows)] if rows else []
    failing, patience = 0.0, None
    while todo:
        start, stop = todo.pop()
        began = time.monotonic()
        try:
            own = list(call(start, stop))
            if len(own) != stop - start:  # results would end up in other rows
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
