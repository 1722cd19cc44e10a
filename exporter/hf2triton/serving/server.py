"""Starts a tritonserver on a model repository and stops it: a context manager."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..devices import devices
from ..errors import ServingError
from ..repository.control import CONTROL_HEADER, CONTROL_KEY, control_headers
from ..repository.layout import is_candidate, versions
from .access import Access, server_tls
from .guard import EXIT_SECONDS, remove_shared_memory
from .requirements import Installation, check_gpus, check_ports, check_requirements, free_ports
from .staging import stage


@dataclass(frozen=True)
class Ports:
    http: int
    grpc: int
    metrics: int


class Server:
    """An embedded Triton that serves all models of a repository.

        with Server("model_repository") as server:
            pipeline("sentence-similarity", model="minilm", url=server.url)

    Ports of 0 mean any free one. It listens on the loopback interface unless `host` says otherwise: do not expose it,
    its version is older than the security fixes of 2025. `log`: where the server writes; by default a file that is
    removed with it. `shared_memory`: clients on this machine may hand over tensors in shared memory. `control_key`: what whoever
    loads models must know; by default nobody else does. `tls`: a folder with tls.crt and tls.key, for gRPC; `mutual_tls`, in its
    place: one that also has the ca.crt of those who may call. HTTP then answers on the loopback interface alone, and without the
    key nothing but health. `flags`: further ones of tritonserver. Raises ServingError and UsageError.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        host: str = "127.0.0.1",
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        log: str | Path | None = None,
        ready_timeout: float = 120.0,
        shared_memory: bool = False,
        control_key: str | None = None,
        tls: Path | None = None,
        mutual_tls: Path | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.repository = Path(repository).resolve()
        self.host = host
        self._asked = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        self._log = Path(log) if log else None
        self._ready_timeout = ready_timeout
        self._flags = tuple(flags)
        own_key = {"key": control_key} if control_key else {}
        self.access = Access(server_tls(tls, mutual_tls), shared_memory, **own_key)
        self._guard: subprocess.Popen | None = None
        self._folder: Path | None = None
        self.ports = Ports(0, 0, 0)
        self.ready_seconds = 0.0

    @property
    def url(self) -> str:
        """`host:port` of the gRPC endpoint, for the client."""
        return f"{self.host}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        return f"http://{self.access.address('http', self.host)}:{self.ports.http}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.access.address('metrics', self.host)}:{self.ports.metrics}"

    @property
    def control_headers(self) -> dict[str, str]:
        """What a client sends that tells the server over gRPC what to load."""
        return control_headers(self.access.key)

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    @property
    def _shm_prefix(self) -> str:
        """What the names of the server's shared memory begin with."""
        return f"hf2triton-{os.getpid()}-{self.ports.grpc}-{self.host.replace(':', '.')}-"

    def start(self) -> Server:
        """Starts the server and waits until every model is ready."""
        began = time.monotonic()
        installation = check_requirements()
        self._check_repository()
        hosts = {protocol: self.access.address(protocol, self.host) for protocol in self._asked}
        check_ports(hosts, self._asked)
        self.ports = Ports(**free_ports(hosts, self._asked))
        self._folder = folder = Path(tempfile.mkdtemp(prefix="hf2triton-server-"))
        try:
            stage(installation, folder)
            self._log_path = self._log or folder / "server.log"
            self._log_path.touch()
            plan = self._plan(installation, folder)
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).with_name("guard.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._guard.stdin.write(json.dumps(plan).encode())
            self._guard.stdin.close()
            self._wait_until_ready(began)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Lets work in flight finish, ends the server and removes what it used. May be called twice."""
        if self.running:
            self._guard.terminate()
            try:
                self._guard.wait(EXIT_SECONDS + 20)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
        self._guard = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            remove_shared_memory(self._shm_prefix)

    def load(self, name: str) -> None:
        """Makes the server read a model again: a new version, or another config. Raises ServingError."""
        request = urllib.request.Request(
            f"{self.http_url}/v2/repository/models/{name}/load",
            b"{}",
            {CONTROL_HEADER: self.access.key, "Connection": "close"},
        )
        try:
            urllib.request.urlopen(request, timeout=self._ready_timeout).close()
        except urllib.error.HTTPError as error:
            raise ServingError(f"{name} was not loaded: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise ServingError(f"{name} was not loaded: {error}") from error

    def log_text(self) -> str:
        """What the server has written so far."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check_repository(self) -> None:
        if not self.repository.is_dir():
            raise ServingError(f"there is no model repository at {self.repository}")
        if not any(versions(path) for path in self.repository.iterdir()):
            raise ServingError(f"{self.repository} holds no model with a version; hf2triton export puts one there")
        check_gpus(self.repository, self._models())

    def _plan(self, installation: Installation, folder: Path) -> dict:
        """What the guard needs to know."""
        addresses = [
            f"--{protocol}-{what}={value}"
            for protocol in ("http", "grpc", "metrics")
            for what, value in (
                ("address", self.access.address(protocol, self.host)),
                ("port", getattr(self.ports, protocol)),
            )
        ]
        command = [
            str(installation.tritonserver),
            f"--model-repository={self.repository}",
            f"--backend-directory={folder / 'backends'}",
            f"--cache-directory={folder / 'caches'}",
            *addresses,
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self._models()),
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            "--allow-cpu-metrics=false",
            "--log-format=ISO8601",
            f"--exit-timeout-secs={EXIT_SECONDS}",
            f"--backend-config=python,shm-region-prefix-name={self._shm_prefix}",
            *self.access.flags(),
            *self._flags,
        ]
        libraries = [str(installation.libraries), str(installation.libpython_folder)]
        environment = {
            **{name: value for name, value in os.environ.items() if name != CONTROL_KEY},  # models need not know it
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": ":".join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
            **({} if "cuda" in devices() else {"TRITON_SERVER_CPU_ONLY": "1"}),
        }
        return {
            "command": command,
            "environment": environment,
            "folder": str(folder),
            "work_folder": str(folder / "empty"),
            "log": str(self._log_path),
            "shm_prefix": self._shm_prefix,
            "parent": os.getpid(),
            "control": {
                "url": self.http_url,
                "headers": {CONTROL_HEADER: self.access.key},
            },
        }

    def _models(self) -> list[str]:
        """All models of the repository, without those that a publisher that was killed was trying."""
        return sorted(path.name for path in self.repository.iterdir() if versions(path) and not is_candidate(path.name))

    def _wait_until_ready(self, began: float) -> None:
        """Triton opens the port of the metrics last."""
        waiting = [f"{self.http_url}/v2/health/ready", f"{self.metrics_url}/metrics"]
        while time.monotonic() - began < self._ready_timeout:
            if self._guard.poll() is not None:
                raise ServingError(f"tritonserver ended at its start:\n{_reason(self.log_text())}")
            try:
                request = urllib.request.Request(waiting[0], headers={"Connection": "close"})
                with urllib.request.urlopen(request, timeout=2):
                    waiting.pop(0)
            except OSError:
                time.sleep(0.02)
            if not waiting:
                return
        raise ServingError(f"not ready within {self._ready_timeout:.0f} s:\n{_reason(self.log_text())}")


def _reason(log: str) -> str:
    """The lines of a log that tell why, or its last ones."""
    lines = log.splitlines()
    telling = [
        line for line in lines if " E " in line or "error:" in line or "failed to load" in line or "UNAVAILABLE" in line
    ]
    return "\n".join((telling or lines)[-12:])
