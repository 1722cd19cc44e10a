"""Runs a tritonserver, `supervise.py tritonserver FLAG…`, so that one model which does not load leaves the others served.

Such a model is named on stderr with Triton's reason, and the exit code at the end is 1. Where it takes the whole server down, or
makes it wait for ever, the models are tried one by one, and the server is started again without those that cannot be loaded.
HF2TRITON_STRICT and HF2TRITON_LOAD_SECONDS: see serve.sh. Of serve.sh's flags it reads the ports, the key and the models.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

# in the image loading.py is beside this file; in a checkout it is the embedded server's
sys.path.append(str(Path(__file__).resolve().parents[1] / "exporter" / "hf2triton" / "serving"))
from loading import ONE_BY_ONE, POLL_SECONDS, Control, Watch, culprits, failures, stranded, telling

STRICT = os.environ.get("HF2TRITON_STRICT", "") not in ("", "0")
SECONDS = float(os.environ.get("HF2TRITON_LOAD_SECONDS") or math.inf)
#: How long a client may wait for one answer; sockets take no infinity.
PATIENCE = min(SECONDS, 24 * 3600.0)
HEADER = "hf2triton-control"


class Stopped(Exception):
    """Somebody has told us to end."""


class Server:
    """A tritonserver whose log goes on to stderr, and is kept while it loads."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._kept: list[str] | None = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        host = option(command, "http-address") or "127.0.0.1"
        host = "127.0.0.1" if host == "0.0.0.0" else host
        self.control = Control(f"http://{host}:{option(command, 'http-port') or 8000}", {HEADER: key_of(command)})

    @property
    def pid(self) -> int | None:
        return None if self.process.poll() is not None else self.process.pid

    def log(self) -> str:
        return "".join(self._kept or ())

    def _read(self) -> None:
        for line in self.process.stdout:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            if self._kept is not None:
                self._kept.append(line.decode("utf-8", errors="replace"))

    def loaded(self) -> str | None:
        """Waits until it has loaded what it could; gives the reason where it never will."""
        watch, until = Watch(self), time.monotonic() + SECONDS
        while not self.control.live():
            if (why := watch.stopped()) is not None:
                return why
            if time.monotonic() > until:
                return f"not loaded within {SECONDS:.0f} s"
            time.sleep(POLL_SECONDS)
        return None

    def wait(self) -> int:
        """Its exit code, as a shell has it."""
        self._kept = None
        code = self.process.wait()
        self._reader.join(10)
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """With the processes of its models, which may hold its output open."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(10)


class Supervisor:
    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.failed: dict[str, str] = {}
        self.server: Server | None = None
        self.stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        serves = True
        with suppress(Stopped):
            serves = self._load()
        if not serves:
            self.server.process.terminate()
        code = self.server.wait() if self.server is not None else 0
        return code if serves and code else int(bool(self.failed) or not serves)

    def _stop(self, *_: object) -> None:
        self.stopping = True
        if self.server is not None:
            self.server.process.terminate()

    def _load(self) -> bool:
        """Side by side; then, where that takes the server down, without those that do so; then one by one. False where it is
        no use to go on."""
        models, flags = values(self.command, "load-model"), []
        for attempt in range(3):
            left = [name for name in models if name not in self.failed]
            self._start([*without_models(self.command), *flags, *(f"--load-model={name}" for name in left)])
            why = self.server.loaded()
            self._check()
            if why is None:
                break
            say(f"{why}; its log says:\n{telling(self.server.log())}")
            self.server.kill()
            if attempt == 2:
                return False
            if attempt == 1:
                flags = [ONE_BY_ONE]
                continue
            if "*" in models:
                with self._trial() as trial:
                    models = [row["name"] for row in trial.control.index()]
            culprits(models, self._trial, PATIENCE, self._fail)
            self._fail_stranded(models)
            if self._hopeless(models):
                return False
        if "*" in models:
            models = sorted({row["name"] for row in self.server.control.index()})
        left = [name for name in models if name not in self.failed]
        for name, reason in failures(self.server.control, left, self.server.log).items():
            self._fail(name, reason)
        for front in self._fail_stranded(models):
            self.server.control.unload(front)
        return not self._hopeless(models)

    def _hopeless(self, models: list[str]) -> bool:
        return bool(self.failed) and (STRICT or len(self.failed) == len(models))

    def _start(self, command: list[str]) -> None:
        self._check()
        self.server = Server(command)
        if self.stopping:  # the signal came between
            self.server.process.terminate()

    def _check(self) -> None:
        if self.stopping:
            raise Stopped

    @contextmanager
    def _trial(self) -> Iterator[Server]:
        """A server that has loaded nothing, at ports that nobody knows."""
        protocols = ("http", "grpc", "metrics")
        flags = [f"--{name}-port={port}" for name, port in zip(protocols, free_ports(len(protocols)), strict=True)]
        self._start([*without_models(self.command), *flags, "--http-address=127.0.0.1"])
        try:
            if (why := self.server.loaded()) is not None:
                self._check()
                sys.exit(f"serve.sh: without any model {why}")
            yield self.server
            self._check()
        finally:
            self.server.kill()

    def _fail(self, model: str, reason: str) -> None:
        self.failed[model] = reason
        say(f"{model} is not served: {reason}")

    def _fail_stranded(self, models: list[str]) -> list[str]:
        fronts = stranded(self.failed, models)
        for front, reason in fronts.items():
            self._fail(front, reason)
        return list(fronts)


def values(command: list[str], name: str) -> list[str]:
    """What a flag was given, in either of its forms."""
    flag = f"--{name}"
    given = [word.removeprefix(f"{flag}=") for word in command if word.startswith(f"{flag}=")]
    return given + [value for word, value in zip(command, command[1:], strict=False) if word == flag]


def option(command: list[str], name: str) -> str | None:
    """What counts of it: the last."""
    return next(reversed(values(command, name)), None)


def without_models(command: list[str]) -> list[str]:
    words = [word for word in command if not word.startswith("--load-model=")]
    while "--load-model" in words:
        index = words.index("--load-model")
        del words[index : index + 2]
    return words


def key_of(command: list[str]) -> str:
    """Of the control API."""
    found = re.search(rf"model-repository[^ ]*:{HEADER}=(.*)", option(command, "http-restricted-api") or "")
    return found[1] if found else ""


def free_ports(count: int) -> list[int]:
    """Each another one: all are taken before the first is given back."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def end_with_parent() -> None:
    """Between fork and exec: the server is killed when this process is (PR_SET_PDEATHSIG, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def say(message: str) -> None:
    print(f"serve.sh: {message}", file=sys.stderr, flush=True)


def main() -> int:
    command = sys.argv[1:]
    loads = values(command, "load-model")
    if (
        not loads
        or option(command, "model-control-mode") != "explicit"
        or option(command, "allow-http") in ("false", "0")
    ):
        os.execvp(command[0], command)  # there is nothing to be told
    return Supervisor(command).run()


if __name__ == "__main__":
    sys.exit(main())
