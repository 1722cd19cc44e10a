"""How somebody else than the process that started a server may tell it what to load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hf2triton_client import Connection, connect

from ..errors import UsageError

#: The header that its control endpoints want, as HTTP names it.
CONTROL_HEADER = "hf2triton-control"
#: What Triton expects before the names of such headers over gRPC.
_GRPC_PREFIX = "triton-grpc-protocol-"
#: Variables of the environment with the header's value, and with the file that holds it: for servers, and for who controls them.
CONTROL_KEY = "HF2TRITON_CONTROL_KEY"
CONTROL_KEY_FILE = f"{CONTROL_KEY}_FILE"


def control_headers(key: str) -> dict[str, str]:
    """The headers over gRPC that a server with this key wants of whoever controls it."""
    return {f"{_GRPC_PREFIX}{CONTROL_HEADER}": key}


def connect_to_control(url: str, headers: Mapping[str, str]) -> Connection:
    """A connection that sends the environment's key, if there is one, and further headers. Raises UsageError."""
    key = control_key()
    return connect(url, headers={**(control_headers(key) if key else {}), **headers})


def control_key(file: Path | None = None) -> str | None:
    """The key that a file holds, else the one that the environment has or names the file of, if any. Raises UsageError."""
    path = file or (Path(named) if (named := os.environ.get(CONTROL_KEY_FILE)) else None)
    place = f"${CONTROL_KEY}" if path is None else str(path)
    if path is None:
        key = os.environ.get(CONTROL_KEY) or None
    else:
        try:
            key = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the control key cannot be read: {error}") from error
    # gRPC refuses other characters in a header
    if key is not None and not (key and key.isascii() and key.isprintable() and key == key.strip()):
        raise UsageError(f"{place} must hold one line of printable ASCII; openssl rand -hex 16 makes a good key")
    return key
