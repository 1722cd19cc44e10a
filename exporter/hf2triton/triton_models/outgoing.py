"""Text that leaves for Triton: messages of errors, lines of logs, labels, and texts that are answers.

Triton takes text for valid UTF-8 without NUL. Other text raises where it is handed over, in the middle of a batch, and long text
exceeds what gRPC takes as a status. What callers sent, and what libraries say of it, may be anything. Nothing here raises.
"""

from __future__ import annotations

import re

#: Bytes of a message. gRPC sends it in a header, where each byte may become three, and clients take 8 KiB of headers.
MAX_MESSAGE_BYTES = 2000
#: How much longer a message may be that was cut before and put into another.
_SLACK = 200
_SURROGATES = re.compile("[\ud800-\udfff]")


def message(value: object) -> str:
    """What an error, or anything else, says: never empty where an exception is given, in valid UTF-8, without NUL, and cut
    with a note where it is longer than `MAX_MESSAGE_BYTES`."""
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
    """A text as UTF-8, whole. Surrogates without their other half, which stand for no character, become U+FFFD."""
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
