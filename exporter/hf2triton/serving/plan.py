"""How an embedded tritonserver is run: its command, its environment, and what embedded_host.py needs to know about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.control import CONTROL_HEADER, CONTROL_KEY
from ..engines.common.devices import devices
from .access import Access
from .embedded_host import EXIT_SECONDS, Address, HostPlan
from .loading import LENIENT, SHARED_PORTS
from .requirements import Installation
from .staging import BACKENDS

#: For tritonserver's environment. gRPC reads requests in pieces of 64 KiB. With this setting they count as large blocks, which
#: return to the system when freed; otherwise glibc would keep them. Models undo it for themselves (see triton_models/memory.py).
BLOCKS_GO_BACK = {"MALLOC_MMAP_THRESHOLD_": str(64 << 10)}
_FLAGS = (
    "--model-control-mode=explicit",
    *LENIENT,
    "--disable-auto-complete-config",
    "--allow-gpu-metrics=false",
    "--allow-cpu-metrics=false",
    "--log-format=ISO8601",
    f"--exit-timeout-secs={EXIT_SECONDS}",
    *SHARED_PORTS,
    "--grpc-infer-allocation-pool-size=0",  # otherwise answered requests stay in memory with all their data
)


@dataclass(frozen=True)
class Ports:
    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True)
class ServerPlan:
    """What all servers of one start share. `folder`: filled by `stage`. `flags`: further flags for tritonserver. `tell`: report
    what happens on stderr too, not only in the log."""

    installation: Installation
    folder: Path
    repository: Path
    host: str
    access: Access
    flags: Sequence[str]
    tell: bool

    def of(self, ports: Ports, log: Path, models: Sequence[str], flags: Sequence[str] = ()) -> HostPlan:
        """The plan of a server that loads these models, for embedded_host.py."""
        prefix = shm_prefix(self.host, ports)
        return {
            "command": self._command(ports, prefix, flags),
            "repository": str(self.repository),
            "models": list(models),
            "backends": BACKENDS,
            "renews": not self.access.shared_memory,
            "tell": self.tell,
            "environment": self._environment(),
            "folder": str(self.folder),
            "work_folder": str(self.folder / "empty"),
            "log": str(log),
            "shm_prefix": prefix,
            "parent": os.getpid(),
            "control": self._control("http", ports.http, {CONTROL_HEADER: self.access.key}),
            "metrics": self._control("metrics", ports.metrics, {}),
        }

    def _command(self, ports: Ports, prefix: str, flags: Sequence[str]) -> list[str]:
        return [
            str(self.installation.tritonserver),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.folder / 'backends'}",
            f"--cache-directory={self.folder / 'caches'}",
            *(f"--{protocol}-address={self.access.address(protocol, self.host)}" for protocol in asdict(ports)),
            *(f"--{protocol}-port={port}" for protocol, port in asdict(ports).items()),
            *_FLAGS,
            *flags,
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            *self.access.flags(),
            *self.flags,
        ]

    def _environment(self) -> dict[str, str]:
        libraries = [str(self.installation.libraries), str(self.installation.libpython_folder)]
        return {
            **BLOCKS_GO_BACK,
            **{name: value for name, value in os.environ.items() if name != CONTROL_KEY},  # models do not need the key
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": ":".join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
            **({} if "cuda" in devices() else {"TRITON_SERVER_CPU_ONLY": "1"}),
        }

    def _control(self, protocol: str, port: int, headers: Mapping[str, str]) -> Address:
        return {"url": f"http://{self.access.address(protocol, self.host)}:{port}", "headers": dict(headers)}


def shm_prefix(host: str, ports: Ports) -> str:
    """The name prefix of a server's shared memory."""
    return f"hf2triton-{os.getpid()}-{ports.grpc}-{host.replace(':', '.')}-"
