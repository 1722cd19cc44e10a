"""`hf2triton serve` as an operator runs it, in a process of its own, and the processes below it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection
from pathlib import Path

import psutil

from hf2triton.core.control import CONTROL_HEADER, CONTROL_KEY
from hf2triton.core.layout import is_candidate

from .namespace import Namespace

KEY = "a-key-of-chaos"
PROTOCOLS = ("http", "grpc", "metrics")
STUB = "triton_python_backend_stub"[:15]  # the kernel keeps 15 characters of a name
START_SECONDS = 120.0
#: What is said when tritonserver has crashed.
_CRASHED = "tritonserver has ended (SIGSEGV)"
#: What is said when a server begins to take over from another one that nothing is wrong with, and when that is over.
_RENEWAL = "starting another one, which takes over"
_RENEWED = ("another tritonserver has taken over", "no other tritonserver takes over")


class Served:
    """The server at fixed ports, which stay the same when it is started again."""

    def __init__(
        self,
        repository: Path,
        folder: Path,
        namespace: Namespace,
        host: str = "127.0.0.1",
        ports: dict[str, int] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        self.repository, self.host, self.namespace, self.folder = repository, host, namespace, folder
        self.ports = ports or dict(zip(PROTOCOLS, fixed_ports(len(PROTOCOLS)), strict=True))
        self.log = namespace.logs / f"server-{host}.log"
        self._log = str(self.log).removeprefix(str(namespace.path("/")).rstrip("/"))
        self.start_seconds = 0.0
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"{self.host}:{self.ports['grpc']}"

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.ports['http']}"

    def start(self) -> Served:
        """Starts it and waits until it is ready. Raises RuntimeError."""
        began = time.monotonic()
        ports = [f"--{name}-port={port}" for name, port in self.ports.items()]
        command = [sys.executable, "-m", "hf2triton", "serve", f"--repository={self.repository}", f"--host={self.host}"]
        with (self.folder / "serve.out").open("ab") as output:
            self.process = subprocess.Popen(
                self.namespace.command([*command, *ports, f"--log={self._log}"]),
                env={**os.environ, CONTROL_KEY: KEY, "TMPDIR": str(self.folder / "tmp"), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self.ready():
            if not self.running or time.monotonic() - began > START_SECONDS:
                self.stop()
                raise RuntimeError(f"hf2triton serve did not start:\n{self.said()}")
            time.sleep(0.1)
        self.start_seconds = time.monotonic() - began
        return self

    @property
    def running(self) -> bool:
        """Whether the command itself has not ended."""
        return self.process is not None and self.process.poll() is None

    def ready(self, path: str = "v2/health/ready") -> bool:
        request = urllib.request.Request(f"{self.http_url}/{path}", headers={"Connection": "close"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=2):
            return True
        return False

    def version(self) -> tuple[int, ...]:
        """Triton's, as in (2, 51, 0). Raises OSError."""
        with urllib.request.urlopen(f"{self.http_url}/v2", timeout=5) as answer:
            return tuple(map(int, json.load(answer)["version"].split(".")))

    def control(self, path: str, timeout: float = 60.0) -> None:
        """Has the server do something that wants the key. Raises OSError."""
        headers = {CONTROL_HEADER: KEY, "Connection": "close"}
        request = urllib.request.Request(f"{self.http_url}/{path}", b"{}", headers)
        urllib.request.urlopen(request, timeout=timeout).close()

    def processes(self) -> list[psutil.Process]:
        """The command and all that live below it; what has ended but was not waited for is left out."""
        if self.process is None:
            return []
        try:
            root = psutil.Process(self.process.pid)
            return [one for one in [root, *root.children(recursive=True)] if alive(one)]
        except psutil.NoSuchProcess:
            return []

    def tritonserver(self) -> psutil.Process | None:
        """The one that serves, where another one takes over or has just done so."""
        found = sorted((one for one in self.processes() if _named(one, "tritonserver")), key=psutil.Process.create_time)
        if len(found) > 1:
            said = self.said(1 << 20)
            return found[0 if said.rfind(_RENEWAL) > max(map(said.rfind, _RENEWED)) else -1]
        return next(iter(found), None)

    def stubs(self) -> dict[str, psutil.Process]:
        """Model -> the process that runs it. Candidates of a publisher are left out."""
        found = {}
        with contextlib.suppress(psutil.Error, AttributeError):
            for one in self.tritonserver().children():
                with contextlib.suppress(psutil.Error, IndexError):
                    if alive(one) and one.name().startswith(STUB[:12]) and one.cmdline()[0].endswith("stub"):
                        found[Path(one.cmdline()[1]).parts[-3]] = one
        return {name: one for name, one in found.items() if not is_candidate(name)}

    def identities(self) -> dict[str, int]:
        """What must stay as it is where nothing may be restarted: the process of the server and of each model."""
        server = self.tritonserver()
        return {"tritonserver": server.pid if server else 0} | {name: one.pid for name, one in self.stubs().items()}

    def replaced(self, before: dict[str, int]) -> list[str]:
        """Whose processes are others than `before`. That a server takes over from one which keeps too much of processes that have
        died is no fault."""
        after = self.identities()
        if after["tritonserver"] != before["tritonserver"] and _RENEWAL in self.said(1 << 20):
            return []
        return sorted(name for name in before | after if before.get(name) != after.get(name))

    def crashes(self) -> int:
        """How often tritonserver has crashed since the command was first given."""
        return self.said(1 << 20).count(_CRASHED)

    def said(self, most: int = 3000) -> str:
        """The ends of what the command and the server have written."""
        parts = [self.folder / "serve.out", self.log]
        texts = [part.read_text(errors="replace")[-most:] for part in parts if part.exists()]
        return "\n".join(texts)

    def kill(self) -> None:
        """Ends all of it at once, as a machine does that runs out of memory."""
        for one in self.processes():
            with contextlib.suppress(psutil.Error):
                one.kill()
        self.process.wait()

    def stop(self, patience: float = 40.0) -> None:
        """Ends it in good order; what does not is killed."""
        below = self.processes()
        if self.running:
            for one in below:  # some may have been paused
                with contextlib.suppress(psutil.Error):
                    one.resume()
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        for one in below:
            with contextlib.suppress(psutil.Error):
                if alive(one):
                    one.kill()
        if self.process is not None:
            self.process.wait()


def strays(folder: Path, but: Collection[int] = ()) -> list[psutil.Process]:
    """Processes of models below a folder, whatever became of their server."""
    found = []
    for one in psutil.process_iter(["name", "cmdline"]):
        is_stub = (one.info["name"] or "").startswith(STUB[:12]) and one.pid not in but
        if is_stub and any(f"{folder}/" in part for part in one.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(one.pid))  # `one` may be kept from an earlier process with this pid
    return [one for one in found if alive(one)]


def fixed_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Free ports below those that the kernel hands out by itself: while a server is away, a client that tries to reach it could
    else be given its port, and would then speak to itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            if port not in found:
                found.append(port)
    return found


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _named(process: psutil.Process, name: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == name
    return False
