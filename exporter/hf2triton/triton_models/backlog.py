"""How many requests wait in Triton's queue for a model. Triton does not tell Python models, but its metrics show it.

The server is the process that started this one. Its command line names the port; only this machine is asked.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from socket import create_connection

#: Triton's metrics port if its command line names none.
DEFAULT_PORT = 8002
#: Seconds the server may take to answer, seconds until it is asked again if it did not, and the most bytes of its metrics.
_PATIENCE, _PAUSE, _MOST_BYTES = 0.5, 2.0, 1 << 24
_COUNT = "nv_inference_pending_request_count"


class Backlog:
    """The queue of one version of a model. `port`: the server's metrics port; None if this machine has none."""

    def __init__(self, model: str, version: str, port: int | None) -> None:
        labels = f'model="{re.escape(model)}",version="{re.escape(version)}"'
        self._row = re.compile(rf"^{_COUNT}\{{{labels}\}} (\d+)".encode(), re.MULTILINE)
        self._port = port
        self._silent_until = 0.0

    def count(self) -> int | None:
        """How many requests wait; None if the server does not say."""
        if self._port is None or time.monotonic() < self._silent_until:
            return None
        try:
            found = self._row.search(_metrics(self._port))
        except OSError:
            found = None
        if found is None:
            self._silent_until = time.monotonic() + _PAUSE
        return int(found[1]) if found else None


def metrics_port(process: int | None = None) -> int | None:
    """The metrics port of a tritonserver, by default of the parent process. None if it has none or is another program."""
    try:
        command = Path(f"/proc/{process or os.getppid()}/cmdline").read_bytes()
        words = [word.decode("utf-8", "replace") for word in command.split(b"\0")]
    except OSError:
        return None
    if "tritonserver" not in Path(words[0]).name:
        return None
    if _option(words, "--allow-metrics") in ("0", "false", "False"):
        return None
    port = _option(words, "--metrics-port") or str(DEFAULT_PORT)
    return int(port) if port.isdigit() else None


def _option(words: list[str], name: str) -> str | None:
    """The last value of an option, which is the value that counts."""
    found = None
    for index, word in enumerate(words):
        if word.startswith(f"{name}="):
            found = word[len(name) + 1 :]
        elif word == name:
            found = words[index + 1 : index + 2][0] if index + 1 < len(words) else None
    return found


def _metrics(port: int) -> bytes:
    """The text of all metrics. Raises OSError."""
    with create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        parts, size = [], 0
        while size < _MOST_BYTES and (part := connection.recv(1 << 16)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)
