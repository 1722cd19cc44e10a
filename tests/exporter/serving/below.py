"""The processes of a server, as tests look at them from outside."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from hf2triton.serving import Server

#: Far more than anything takes that is waited for, on a machine that has much else to do.
PATIENCE = 120.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """What a condition gives, once that is true."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, f"waited too long for {what}"
        time.sleep(0.02)
    return found


def tritonserver(server: Server) -> psutil.Process | None:
    """The last one that was started."""
    children = psutil.Process(server._process.supervisor.pid).children()
    found = [one for one in children if one.name() == "tritonserver" and one.status() != psutil.STATUS_ZOMBIE]
    return max(found, key=lambda one: one.create_time(), default=None)


def stub(server: Server, model: str) -> psutil.Process | None:
    """The process of a model; None while it has none."""
    try:
        for one in tritonserver(server).children():
            if one.status() != psutil.STATUS_ZOMBIE and f"/{model}/" in " ".join(one.cmdline()):
                return one
    except (psutil.Error, AttributeError):
        pass
    return None


def ask(server: Server, path: str, inputs: dict[str, Any] | None = None, timeout: float = 10.0) -> str:
    """What the server answers over HTTP, without any retry. Raises OSError."""
    data = None if inputs is None else json.dumps(inputs).encode()
    request = urllib.request.Request(f"{server.http_url}/v2/{path}", data, {"Connection": "close"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read().decode()


def answers(server: Server, model: str) -> bool:
    """Whether a model that classifies texts answers."""
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["good"]}
    try:
        return "outputs" in json.loads(ask(server, f"models/{model}/infer", {"inputs": [tensor]}))
    except (OSError, ValueError):
        return False


def said(server: Server, since: int = 0) -> str:
    """What the supervisor has written, without what tritonserver has."""
    lines = Path(server._log_path).read_text(encoding="utf-8", errors="replace")[since:].splitlines()
    return "\n".join(line for line in lines if line.startswith("hf2triton: "))
