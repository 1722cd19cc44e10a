"""Checks what callers send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

#: The most bytes of all texts and parameters of one request: a thread takes seconds to tokenize them.
MAX_REQUEST_BYTES = 1 << 22
#: An input, uint8 `[rows, 1]`, that clients send with large requests and frontends do not read. Triton only merges requests that
#: have the same inputs, so large requests are only merged with large ones. The Python backend copies all inputs of a batch into
#: shared memory. If that is full, it fails the whole batch before the frontend sees any of it.
LARGE = "large"


def check_size(arrays: Iterable[NDArray[Any]]) -> None:
    """Raises ValueError if the texts of a request are too long in total."""
    size = sum(len(value) for array in arrays for value in array.ravel())
    if size > MAX_REQUEST_BYTES:
        raise ValueError(
            f"the request has {size:,} bytes of text in all; at most {MAX_REQUEST_BYTES:,} are taken: send fewer texts at once"
        )


def decoded(what: str, value: bytes, max_bytes: int) -> str:
    """Decodes a text of at most `max_bytes` in UTF-8. Raises ValueError, which names the input as `what`."""
    if len(value) > max_bytes:
        raise ValueError(f"{what} has {len(value):,} bytes; at most {max_bytes:,} are taken")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8: {error}") from None
