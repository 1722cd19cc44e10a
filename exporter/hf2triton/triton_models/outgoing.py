"""Text for Triton: error messages, log lines, labels and answers.

Triton expects valid UTF-8 without NUL. Handing over other text raises, in the middle of a batch, and long text exceeds what gRPC
allows for a status. Callers' texts, and libraries' messages about them, may contain anything. Nothing here raises.
"""

from __future__ import annotations

import re

#: The most bytes of a message. gRPC sends it in a header, where each byte may become three, and clients accept 8 KiB of headers.
MAX_MESSAGE_BYTES = 2000
#: How much longer a message may be if it contains a message that was cut before.
_SLACK = 200
_SURROGATES = re.compile("[\ud800-\udfff]")


def message(value: object) -> str:
    """The text of an error or another value, in valid UTF-8 without NUL. It is never empty for an exception. Beyond
    `MAX_MESSAGE_BYTES` it is cut, with a note."""
    try:
        text = _text_of(value)
        # cut first: there may be megabytes
        shown = text[: MAX_MESSAGE_BYTES + _SLACK + 1].replace("\0", "\\x00").encode("utf-8", "backslashreplace")
        if len(shown) <= MAX_MESSAGE_BYTES + _SLACK:
            return shown.decode("utf-8")
        return f"{shown[:MAX_MESSAGE_BYTES].decode('utf-8', 'ignore')} … (cut; it has {len(text):,} characters)"
    except BaseException:  # such as MemoryError
        return "an error whose text cannot be told"


def encoded(text: str) -> bytes:
    """A whole text in UTF-8. Lone surrogates, which represent no character, become U+FFFD."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text).encode("utf-8")


def _text_of(value: object) -> str:
    try:
        text = str(value)
        return text if text or not isinstance(value, BaseException) else type(value).__name__
    except BaseException as error:
        return f"{type(value).__name__}, whose text cannot be made: {type(error).__name__}"
