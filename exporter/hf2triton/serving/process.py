"""Starts a tritonserver under its supervisor, watches it while it loads, and stops it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ..errors import ServingError
from .claims import Claim
from .embedded_host import EXIT_SECONDS, HostPlan
from .loading import POLL_SECONDS, Control, Watch, telling


class NotLoaded(ServingError):
    """A server ended or got stuck while it loaded its models. `end`: which of the two."""

    def __init__(self, end: str, log: str) -> None:
        super().__init__(f"{end}:\n{telling(log)}")
        self.end = end


class Process:
    """A server and its supervisor. `claim`: the claim of its folder, which the supervisor shares. The server's log is kept until
    the caller, which chose its file, removes it."""

    def __init__(self, plan: HostPlan, claim: Claim) -> None:
        claim.note(plan["shm_prefix"])
        self._log = Path(plan["log"])
        self._log.touch()
        self._written = self._log.stat().st_size  # the file may hold logs of earlier servers
        self.control = Control(**plan["control"])
        self.supervisor = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("embedded_host.py"))],
            stdin=subprocess.PIPE,
            stdout=claim.lock,  # only held open; its number must not equal that of a server's socket (see sockets.py)
            start_new_session=True,
        )
        assert self.supervisor.stdin is not None  # it is a pipe
        self.supervisor.stdin.write(json.dumps(plan).encode())
        self.supervisor.stdin.close()

    @property
    def running(self) -> bool:
        return self.supervisor.poll() is None

    @property
    def pid(self) -> int | None:
        """The id of tritonserver; None once it has ended."""
        if self.running:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self.supervisor.pid).children():
                    if child.status() != psutil.STATUS_ZOMBIE:
                        return child.pid
        return None

    def log(self) -> str:
        """What the server has written so far."""
        return self._log.read_bytes()[self._written :].decode("utf-8", errors="replace")

    def wait_for(self, answers: Callable[[], bool], seconds: float) -> None:
        """Waits until `answers` is true. Raises NotLoaded."""
        until, watch = time.monotonic() + seconds, None
        while not answers():
            if not self.running:
                raise NotLoaded("tritonserver ended at its start", self.log())
            if time.monotonic() > until:
                raise NotLoaded(f"not ready within {seconds:.0f} s", self.log())
            if self.pid is not None:  # the supervisor has started it
                watch = watch or Watch(self)
                if (stopped := watch.stopped()) is not None:
                    raise NotLoaded(f"a model keeps tritonserver from its start: {stopped}", self.log())
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """Ends a server without waiting for work in flight."""
        self.stop(signal.SIGQUIT)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Lets work in flight finish and ends the server. Can be called twice."""
        if self.running:
            self.supervisor.send_signal(number)
            try:
                self.supervisor.wait(EXIT_SECONDS + 20)
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
                self.supervisor.wait()
