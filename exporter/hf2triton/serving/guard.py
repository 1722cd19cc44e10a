"""Runs one tritonserver and looks after it. Started by `server.py` as a script of its own, with its plan as JSON.

It ends the server when told to (SIGTERM, SIGINT) or when the process that wanted it is gone, however that ended, and
removes what the server left: processes, shared memory, folders. Once the server is live, supervisor.py keeps it so.
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
from typing import Any

if not __package__:  # run as a script: the modules that it needs lie beside it, without the package's __init__
    __package__ = "serving"
    sys.modules[__package__] = types.ModuleType(__package__)
    sys.modules[__package__].__path__ = [str(Path(__file__).parent)]

from .leftovers import remove_environments, remove_shared_memory
from .loading import POLL_SECONDS, Control
from .supervisor import GivenUp, Supervisor

#: What the server may take to finish the work in flight; one open HTTP connection uses all of it.
EXIT_SECONDS = 10


class Guard:
    """`plan`: command, repository, models (that it loads), environment, log, folder (the runtime's), work_folder (an empty one),
    shm_prefix, parent (a pid), backends and renews (as `supervisor.Host` has them), control and metrics (url and headers), tell
    (whether what happens is written to stderr as well)."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.control, self.metrics = (
            Control(plan[name]["url"], plan[name]["headers"]) for name in ("control", "metrics")
        )
        self.repositories = [Path(plan["repository"])]
        self.backends, self.renews, self.shm_prefix = plan["backends"], plan["renews"], plan["shm_prefix"]
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
        with open(self.plan["log"], "ab", buffering=0) as log:
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
        """Not being read, or a disk that is full, is no reason to look after the server no more."""
        with contextlib.suppress(OSError), open(self.plan["log"], "a", encoding="utf-8") as log:
            log.write(f"hf2triton: {message}\n")
        if self.plan["tell"]:
            with contextlib.suppress(OSError):
                print(f"hf2triton: {message}", file=sys.stderr, flush=True)

    def down(self, models: Collection[str]) -> None:
        """What is said of each is enough."""

    def _stop(self, number: int, _: object) -> None:
        """SIGQUIT: there is no work to wait for."""
        self.stopping = True
        self.at_once |= number == signal.SIGQUIT

    def _has_parent(self) -> bool:
        """Whether the process that started this one is still there."""
        return os.getppid() == self.plan["parent"]

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        """Ends the server, all of its children, and removes what they left."""
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
            os.killpg(server.pid, signal.SIGKILL)  # stubs whose server went without them
        self.clean()
        if not self._has_parent():  # else the parent still wants to read the log
            shutil.rmtree(self.plan["folder"], ignore_errors=True)


def _end_with_parent() -> None:
    """Between fork and exec: the server gets SIGTERM when the guard is killed (PR_SET_PDEATHSIG, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(Guard(json.loads(sys.stdin.read())).run())
