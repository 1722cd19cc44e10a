"""Runs a tritonserver and supervises it. `process.py` starts it as a separate script, with its plan as JSON.

It ends the server when told to (SIGTERM, SIGINT) or when the process that started it is gone, for whatever reason. It removes
what the server leaves: processes, shared memory, folders. Once the server is live, supervisor.py keeps it alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypedDict

if not __package__:  # run as a script: the modules it needs are beside it; the package's __init__ is not imported
    __package__ = "serving"
    sys.modules[__package__] = types.ModuleType(__package__)
    sys.modules[__package__].__path__ = [str(Path(__file__).parent)]

from .leftovers import remove_environments, remove_shared_memory
from .loading import POLL_SECONDS, Control
from .supervisor import GivenUp, Supervisor

#: How long the server may take to finish work in flight. A single open HTTP connection uses up all of it.
EXIT_SECONDS = 10


class Address(TypedDict):
    """The address of a port of the server, and the headers it requires."""

    url: str
    headers: dict[str, str]


class HostPlan(TypedDict):
    """What the host needs to know, as JSON.

    `models`: those to load. `folder`: the runtime's folder. `work_folder`: an empty folder. `parent`: a pid. `backends`,
    `renews`, `shm_prefix`: see `host.Host`. `tell`: also report what happens on stderr.
    """

    command: list[str]
    repository: str
    models: list[str]
    backends: Sequence[str]
    renews: bool
    tell: bool
    environment: dict[str, str]
    folder: str
    work_folder: str
    log: str
    shm_prefix: str
    parent: int
    control: Address
    metrics: Address


class EmbeddedHost:
    """The `Host` of an embedded server."""

    def __init__(self, plan: HostPlan) -> None:
        self.plan = plan
        self.control, self.metrics = Control(**plan["control"]), Control(**plan["metrics"])
        self.repositories: Sequence[Path] = [Path(plan["repository"])]
        self.backends: Collection[str] = plan["backends"]
        self.renews, self.shm_prefix = plan["renews"], plan["shm_prefix"]
        self.stopping = self.at_once = False

    def run(self) -> int:
        """Starts the server and returns its exit code once it has ended."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._stop)
        supervisor = Supervisor(self, self.start(self.plan["models"]), self.plan["models"])
        try:
            while self.wanted() and supervisor.pid is not None and not self.control.live():
                supervisor.note()
                time.sleep(POLL_SECONDS)
            if supervisor.pid is not None:
                supervisor.run()
        except GivenUp as error:
            self.say(str(error))
        finally:
            supervisor.end_others()
            self._end(supervisor.process)
        return supervisor.process.returncode

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen[bytes]:
        with Path(self.plan["log"]).open("ab", buffering=0) as log:
            return subprocess.Popen(
                [*self.plan["command"], *(f"--load-model={name}" for name in models), *flags],
                env=self.plan["environment"],
                cwd=self.plan["work_folder"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def clean(self) -> None:
        remove_shared_memory(self.shm_prefix)
        remove_environments()

    def wanted(self) -> bool:
        return not self.stopping and self._has_parent()

    def say(self, message: str) -> None:
        """Continues even if nobody reads stderr or the disk is full, because the server still needs supervision."""
        with contextlib.suppress(OSError), Path(self.plan["log"]).open("a", encoding="utf-8") as log:
            log.write(f"hf2triton: {message}\n")
        if self.plan["tell"]:
            with contextlib.suppress(OSError):
                print(f"hf2triton: {message}", file=sys.stderr, flush=True)

    def down(self, models: Collection[str]) -> None:
        """Does nothing: `say` has reported each of them."""

    def _stop(self, number: int, _: object) -> None:
        """Handles signals. SIGQUIT means that there is no work to wait for."""
        self.stopping = True
        self.at_once |= number == signal.SIGQUIT

    def _has_parent(self) -> bool:
        """Whether the process that started this one still exists."""
        return os.getppid() == self.plan["parent"]

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        """Ends the server and all its children, and removes what they leave."""
        if server.poll() is None and self.at_once:
            server.kill()
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(EXIT_SECONDS + 5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # stubs may outlive their server
        self.clean()
        if not self._has_parent():  # otherwise the parent still wants to read the log
            shutil.rmtree(self.plan["folder"], ignore_errors=True)


def _end_with_parent() -> None:
    """Between fork and exec: the server gets SIGTERM when the supervisor is killed (PR_SET_PDEATHSIG, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(EmbeddedHost(json.loads(sys.stdin.read())).run())
