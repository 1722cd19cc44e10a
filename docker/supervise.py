"""Runs a tritonserver, `supervise.py tritonserver FLAG…`, so that one model which does not load leaves the others served.

Such a model is named on stderr with Triton's reason, and the exit code at the end is 1. Where it takes the whole server down, or
makes it wait for ever, the models are tried one by one, and the server is started again without those that cannot be loaded.
Then it is looked after as `hf2triton serve` does: a model whose process has died is loaded again, and a server that has ended or
hangs is started again. HF2TRITON_STRICT and HF2TRITON_LOAD_SECONDS: see serve.sh. Of serve.sh's flags it reads the ports, the
key, the models and where these are.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
import parts  # noqa: F401
from flags import HEADER, key_of, option, shm_prefix, url_of, values, without_models
from health import noted
from serving.leftovers import remove_environments, remove_shared_memory
from serving.loading import ONE_BY_ONE, POLL_SECONDS, Control, Watch, culprits, failures, stranded, telling
from serving.supervisor import GivenUp
from serving.supervisor import Supervisor as Watcher

STRICT = os.environ.get("HF2TRITON_STRICT", "") not in ("", "0")
SECONDS = float(os.environ.get("HF2TRITON_LOAD_SECONDS") or math.inf)
#: How long a client may wait for one answer; sockets take no infinity.
PATIENCE = min(SECONDS, 24 * 3600.0)


class Stopped(Exception):
    """Somebody has told us to end."""


class Server:
    """A tritonserver whose log goes on to stderr, and is kept as long as somebody wants to read it."""

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
        self.control = Control(url_of(command, "http", 8000), {HEADER: key_of(command)})

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

    def forget(self) -> None:
        """Its log is not read any more."""
        self._kept = None

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
    """Of the container. It is the host of what looks after the server."""

    #: Those whose models are processes of their own here. No other server can take over within a container.
    backends, renews = ("python",), False

    def __init__(self, command: list[str]) -> None:
        self.shm_prefix = shm_prefix(command) or f"hf2triton-{socket.gethostname()}-{os.getpid()}-"
        named = [] if shm_prefix(command) else [f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}"]
        self.command = [*command, *named]
        self.control = Control(url_of(command, "http", 8000), {HEADER: key_of(command)})
        self.metrics = Control(url_of(command, "metrics", 8002), {})
        self.repositories = [Path(value) for value in values(command, "model-repository")]
        self.failed: dict[str, str] = {}
        self.server: Server | None = None
        self.stopping = False
        self._away: dict[str, float] = {}

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        self.down([])  # a container before may have noted some
        serves = True
        with suppress(Stopped):
            serves = self._load()
            if serves:
                self._watch()
        if not serves:
            self.server.process.terminate()
        code = self.server.wait() if self.server is not None else 0
        return code if serves and code else int(bool(self.failed) or not serves)

    def _watch(self) -> None:
        """Keeps the server as it is, until it is told to stop. Raises Stopped."""
        self.server.forget()
        served = [name for name, _ in self.control.ready(PATIENCE)]
        try:
            Watcher(self, self.server.process, served).run()
        except GivenUp as error:
            sys.exit(f"serve.sh: {error}")
        raise Stopped

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen:
        self._start([*without_models(self.command), *flags, *(f"--load-model={name}" for name in models)])
        self.server.forget()
        return self.server.process

    def clean(self) -> None:
        remove_shared_memory(self.shm_prefix)
        remove_environments()

    def wanted(self) -> bool:
        return not self.stopping

    def say(self, message: str) -> None:
        say(message)

    def down(self, models: Collection[str]) -> None:
        """Notes since when models are away, for health.py."""
        self._away = {model: self._away.get(model, time.monotonic()) for model in models}
        with suppress(OSError):
            noted(os.getpid()).write_text(json.dumps(self._away), encoding="utf-8")

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
        for frontend in self._fail_stranded(models):
            self.server.control.unload(frontend)
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
        frontends = stranded(self.failed, models)
        for frontend, reason in frontends.items():
            self._fail(frontend, reason)
        return list(frontends)


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
    with suppress(OSError):  # nobody reads any more
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
