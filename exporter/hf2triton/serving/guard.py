"""Runs one tritonserver and looks after it. Started by `server.py` as a script of its own, with its plan as JSON.

It ends the server when told to (SIGTERM, SIGINT) or when the process that wanted it is gone, however that ended, and
removes what the server left: processes, shared memory, the runtime folder. A Python model whose process has died keeps
its state "ready" in Triton while each of its requests fails; the guard sees the dead child and reloads the model.
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
import urllib.request
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.2
#: What the server may take to finish the work in flight; one open HTTP connection uses all of it.
EXIT_SECONDS = 10
RELOAD_SECONDS = 30


class Guard:
    """`plan`: command, environment, log, folder (the runtime's), work_folder (an empty one), shm_prefix, parent (a pid),
    control (url and headers)."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.stopping = False
        self.stubs: dict[int, str] = {}  # pid -> model
        self.zombies: set[int] = set()

    def run(self) -> int:
        """Starts the server and returns its exit code once it has ended."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        with open(self.plan["log"], "ab", buffering=0) as log:
            server = subprocess.Popen(
                self.plan["command"],
                env=self.plan["environment"],
                cwd=self.plan["work_folder"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            try:
                while not self.stopping and server.poll() is None and self._wanted():
                    time.sleep(POLL_SECONDS)
                    for model in self._dead_models(server.pid):
                        if not self._ready(model):  # it died while it was loaded, which Triton knows
                            continue
                        self._log(f"the process of model {model} has died; reloading it")
                        self._reload(model)
            finally:
                self._end(server)
        return server.returncode

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _wanted(self) -> bool:
        """Whether the process that started this one is still there."""
        return os.getppid() == self.plan["parent"]

    def _dead_models(self, server: int) -> list[str]:
        """Models whose process is a zombie, and was one at the last look: those of models that are being unloaded are too, but
        only for a moment. The command line names the model, but only while the process lives."""
        dead, zombies = [], set()
        try:
            children = psutil.Process(server).children()
        except psutil.NoSuchProcess:
            return []
        for child in children:
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    zombies.add(child.pid)
                    if child.pid in self.zombies and child.pid in self.stubs:
                        dead.append(self.stubs.pop(child.pid))
                elif child.pid not in self.stubs:
                    command = child.cmdline()
                    if command and command[0].endswith("triton_python_backend_stub"):
                        self.stubs[child.pid] = Path(command[1]).parts[-3]
            except psutil.NoSuchProcess:
                continue
        self.zombies = zombies
        return dead

    def _reload(self, model: str) -> None:
        """Unloads and loads a model; loading alone does nothing to one that Triton believes ready."""
        try:
            self._control(f"v2/repository/models/{model}/unload")
            until = time.monotonic() + RELOAD_SECONDS
            while self._ready(model) and time.monotonic() < until:
                time.sleep(0.02)
            self._control(f"v2/repository/models/{model}/load")
        except OSError as error:
            self._log(f"model {model} could not be reloaded: {error}")
        else:
            self._log(f"model {model} is loaded again")

    def _control(self, path: str) -> None:
        control = self.plan["control"]
        request = urllib.request.Request(
            f"{control['url']}/{path}", b"{}", {**control["headers"], "Connection": "close"}, method="POST"
        )
        urllib.request.urlopen(request, timeout=RELOAD_SECONDS).close()

    def _ready(self, model: str) -> bool:
        request = urllib.request.Request(
            f"{self.plan['control']['url']}/v2/models/{model}/ready", headers={"Connection": "close"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False

    def _end(self, server: subprocess.Popen) -> None:
        """Ends the server, all of its children, and removes what they left."""
        if server.poll() is None:
            server.terminate()
            try:
                server.wait(EXIT_SECONDS + 5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # stubs whose server went without them
        remove_shared_memory(self.plan["shm_prefix"])
        if not self._wanted():  # else the parent still wants to read the log
            shutil.rmtree(self.plan["folder"], ignore_errors=True)

    def _log(self, message: str) -> None:
        with open(self.plan["log"], "a", encoding="utf-8") as log:
            log.write(f"hf2triton: {message}\n")


def remove_shared_memory(prefix: str) -> None:
    """Removes the regions that a server which ended in a hurry left behind."""
    for left in Path("/dev/shm").glob(f"{prefix}*"):
        left.unlink(missing_ok=True)


def _end_with_parent() -> None:
    """Between fork and exec: the server gets SIGTERM when the guard is killed (PR_SET_PDEATHSIG, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(Guard(json.loads(sys.stdin.read())).run())
