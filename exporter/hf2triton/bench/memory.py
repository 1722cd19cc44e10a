"""The memory that a served model takes, if its server runs on this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import psutil

from ..core.layout import graph_model

_STUB = "triton_python_backend_stub"


def is_here(url: str) -> bool:
    """Whether the host of a URL is this machine."""
    host = url.rpartition(":")[0].strip("[]")
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    try:
        found = {str(information[4][0]) for information in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found & own) or any(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found)


def served_bytes(grpc_port: int, model: str, has_graph_model: bool) -> int | None:
    """The peak memory of the processes that serve a model: processes of Triton's Python backend whose command lines name it.
    None if they cannot be found, or if the graph runs inside the server itself."""
    stubs = dict(_stubs(grpc_port))
    wanted = [model, graph_model(model)] if has_graph_model else [model]
    if not all(name in stubs for name in wanted):
        return None
    return sum(_peak(stubs[name]) for name in wanted)


def _stubs(grpc_port: int) -> Sequence[tuple[str, psutil.Process]]:
    """(model, process) of the server that listens on a port."""
    found = []
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if "tritonserver" not in process.name() or not _listens(process, grpc_port):
                continue
            for child in process.children(recursive=True):
                command = child.cmdline()
                if command and command[0].endswith(_STUB):
                    # …/MODEL/VERSION/model.py
                    found.append((Path(command[1]).parts[-3], child))
        except (psutil.Error, OSError):
            continue
    return found


def _listens(process: psutil.Process, port: int) -> bool:
    connections = getattr(process, "net_connections", None) or process.connections  # psutil before 6
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections("inet"))


def _peak(process: psutil.Process) -> int:
    """A process's peak memory in bytes. Linux counts in KiB; psutil does not provide it."""
    status = Path(f"/proc/{process.pid}/status")
    match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(match[1]) * 1024 if match else process.memory_info().rss
