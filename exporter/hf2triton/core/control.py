"""The control key: lets a process other than the one that started a server tell it what to load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hf2triton_client import Connection, connect

from ..errors import UsageError

#: The header that a server's control endpoints require, as HTTP names it.
CONTROL_HEADER = "hf2triton-control"
#: Triton's prefix for such headers over gRPC.
GRPC_PREFIX = "triton-grpc-protocol-"
#: Environment variables with the header's value, and with the path of a file that holds it. Servers and their controllers read
#: them.
CONTROL_KEY = "HF2TRITON_CONTROL_KEY"
CONTROL_KEY_FILE = f"{CONTROL_KEY}_FILE"


def control_headers(key: str) -> dict[str, str]:
    """The gRPC headers that a server with this key requires of its controllers."""
    return {f"{GRPC_PREFIX}{CONTROL_HEADER}": key}


def connect_to_control(url: str, headers: Mapping[str, str]) -> Connection:
    """A connection that sends the environment's key, if there is one, and further headers. Raises UsageError."""
    key = control_key()
    return connect(url, headers={**(control_headers(key) if key else {}), **headers})


def control_key(file: Path | None = None) -> str | None:
    """The key in `file`; without it, the key in the file that the environment names, or in the environment, if any. Raises
    UsageError."""
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
