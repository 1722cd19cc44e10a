"""Looks after a tritonserver that serves: starts it again when it ends or hangs, and brings back models whose process has died.

Such a model keeps its state "ready" in Triton while each of its requests fails, and Triton starts no other process for it. What
ought to be there is asked of Triton and held against what is there, five times a second: it does not matter when a process died.
The standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from .loading import DEAD_SECONDS, ONE_BY_ONE, Control, Watch
from .missing import missing
from .presence import Expected, Presence, generating
from .reloads import Reloads
from .renewal import Leaving, Starter, Successor, end, has_room, kept
from .sockets import end_connections
from .stubs import Stub, state, stubs

POLL_SECONDS = 0.2
#: How long a process may be stopped (SIGSTOP). Triton itself takes 1.5 s for a failure of a model, or ends afterwards.
STOPPED_SECONDS = 2.0
#: How long tritonserver may answer on none of its ports, and how long it may take for one answer.
SILENT_SECONDS, ANSWER_SECONDS = 3.0, 1.0
#: Seconds before tries to start a server that did not start; after the last it is given up.
PAUSES = (0.5, 2.0, 8.0, 20.0)
#: The leftovers of so many dead processes (36 threads and 1 MiB or more each) are what a server may keep.
KEPT = 5
#: What the names of models begin with that a publisher is trying: a server that is started again does without.
CANDIDATE = "_candidate-"


class GivenUp(Exception):
    """A server that does not start any more."""


class Host(Starter, Protocol):
    """What runs a server. `repositories`: where its models lie, if on this machine. `backends`: those whose models are processes.
    `renews`: whether another server may take its place; not where callers have registered what that would not know of."""

    control: Control
    repositories: Sequence[Path]
    backends: Collection[str]
    renews: bool

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen:
        """Starts a tritonserver, in a session of its own, that loads these models."""

    def clean(self) -> None:
        """Removes the shared memory of servers that have ended. None is running."""

    def wanted(self) -> bool:
        """Whether the server is to run on."""

    def say(self, message: str) -> None:
        """Tells the operator. Any thread may call it."""

    def down(self, models: Collection[str]) -> None:
        """Notes which models are being brought back, whenever these are others."""


class Supervisor:
    """Of a tritonserver, `process`, that has loaded what it could of `models`."""

    def __init__(self, host: Host, process: subprocess.Popen, models: Iterable[str]) -> None:
        self._host = host
        self.process = process
        self._ready = [(model, "") for model in models]  # at the last look
        self._presence = Presence(host.control, host.backends)
        self._successor: Successor | None = None
        self._leaving: list[Leaving] = []
        self._down: set[str] | None = None
        self._begin()

    @property
    def _models(self) -> set[str]:
        """Those that are served or are to be."""
        return {model for model, _ in self._ready if not model.startswith(CANDIDATE)} | set(self._reloads.began)

    @property
    def pid(self) -> int | None:
        """Of tritonserver; None once it has ended."""
        return None if self.process.poll() is not None else self.process.pid

    def run(self) -> None:
        """Until the server is not wanted any more, which is left to be ended. Raises GivenUp."""
        while self._host.wanted():
            before = time.monotonic()
            time.sleep(POLL_SECONDS)
            if (
                time.monotonic() - before > POLL_SECONDS + ANSWER_SECONDS
            ):  # this process was paused, maybe with all others
                self._overslept()
            if self._host.wanted() and (why := self._look()) is not None:
                self.restart(why)
            if self._down != (down := set(self._reloads.began)):
                self._host.down(down)
                self._down = down

    def _begin(self) -> None:
        """With a server of which nothing was seen yet."""
        self._reloads = Reloads(self._host.control, self._host.repositories, self._host.say)
        self._deaths = 0
        self._incomplete: set[str] = set()
        self._owners: dict[int, str] = {}  # process -> its model
        self._overslept()

    def _overslept(self) -> None:
        self._since: dict[tuple[int, str], float] = {}  # process, what it is -> since when
        self._answered = time.monotonic()

    def _look(self) -> str | None:
        """Sees to the models. Why the server has to be started again, if so."""
        self._leaving = [one for one in self._leaving if not one.over()]
        if (code := self.process.poll()) is not None:
            return f"tritonserver has ended ({_ending(code)})"
        if state(self.process.pid) == "T":
            stopped = self._lasts(self.process.pid, "T") > STOPPED_SECONDS
            return f"tritonserver was stopped for {STOPPED_SECONDS:g} s (SIGSTOP)" if stopped else None
        found = stubs(self.process.pid)
        self._watch(found)
        if (model := self._stuck()) is not None:
            return f"the process of model {model} has died while it was loaded, for which tritonserver waits in vain"
        try:
            ready = self._host.control.ready(ANSWER_SECONDS)
            self._answered = time.monotonic()
            self._ready = ready
            why = self._mend(self._presence.lacking(ready, found))
            return why or self._renew()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) or self._host.metrics.answers("metrics", ANSWER_SECONDS):
                self._answered = time.monotonic()
            elif time.monotonic() - self._answered > SILENT_SECONDS:
                return f"tritonserver does not answer ({error})"
        return None

    def _watch(self, found: Sequence[Stub]) -> None:
        """Notes since when processes are dead or stopped, and kills the latter."""
        known = {self.process.pid, *(stub.pid for stub in found)}
        self._owners = {pid: owner for pid, owner in self._owners.items() if pid in known}
        states = {(stub.pid, stub.state) for stub in found}
        self._since = {key: since for key, since in self._since.items() if key in states}
        for stub in found:
            if stub.model:
                self._owners[stub.pid] = stub.model
            if self._lasts(stub.pid, stub.state) > STOPPED_SECONDS and stub.state == "T":
                self._host.say(
                    f"the process of model {stub.model} was stopped for {STOPPED_SECONDS:g} s (SIGSTOP); killing it"
                )
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stub.pid, signal.SIGKILL)

    def _lasts(self, pid: int, what: str) -> float:
        """For how long a process has been in a state, in which it is."""
        now = time.monotonic()
        return now - self._since.setdefault((pid, what), now)

    def _stuck(self) -> str | None:
        """A model that will never be loaded, since its process has died meanwhile."""
        now = time.monotonic()
        for model, began in self._reloads.began.copy().items():
            for (pid, what), since in self._since.items():
                late = what == "Z" and began < since < now - DEAD_SECONDS
                if late and self._owners.get(pid, model) == model:
                    return model
        return None

    def _mend(self, lacking: dict[str, Expected]) -> str | None:
        """Brings back models that lacked a process at the last look as well: one that is being unloaded does for a moment."""
        lacking = {model: known for model, known in lacking.items() if model not in self._reloads.began}
        died = {model: known for model, known in lacking.items() if model in self._incomplete}
        self._incomplete = set(lacking)
        for model, known in died.items():
            self._deaths += 1
            self._host.say(f"the process of model {model} has died; reloading it")
            if known.decoupled and generating(self._host.metrics, model):
                try:
                    end_connections(self.process.pid)
                except OSError as error:
                    return f"tritonserver never ends the requests that model {model} was answering ({error})"
                self._host.say(
                    f"ended all connections: tritonserver never ends the requests that model {model} was answering"
                )
            self._reloads.add(model)
        return None

    def _renew(self) -> None:
        """Lets another server take over from one that keeps too much of processes that have died."""
        old, successor = self.process, self._successor
        if successor is None:
            wanted = self._deaths >= KEPT and self._host.renews and not (self._reloads.began or self._leaving)
            if wanted and kept(old.pid, self._host.shm_prefix) >= KEPT:
                self._begin_renewal()
        elif (why := successor.failed()) is not None:
            self._host.say(f"no other tritonserver takes over: {why}")
            self._end_successor()
        elif successor.ready():
            self._take_over(successor)

    def _begin_renewal(self) -> None:
        self._deaths = 0  # if it comes to nothing, it is tried again after as many
        if not has_room(self.process.pid):
            self._host.say(f"tritonserver keeps what {KEPT} processes left, and there is no memory for a second one")
            return
        with contextlib.suppress(OSError):  # forbidden here
            self._successor = Successor(self._host, self.process, sorted(self._models))
            self._host.say(f"tritonserver keeps what {KEPT} processes left: starting another one, which takes over")

    def _take_over(self, successor: Successor) -> None:
        before = self._ready
        leaving = Leaving(self.process, self._host.shm_prefix)
        if self._reloads.began:  # nobody would bring these models back there
            leaving.end()
        else:
            self._leaving.append(leaving)
        self._successor, self.process = None, successor.process
        self._reloads.stop()
        self._begin()
        self._host.say("another tritonserver has taken over")
        # what was loaded meanwhile
        for model in {model for model, _ in set(before) - set(self._host.control.ready(ANSWER_SECONDS))}:
            self._reloads.add(model, anew=False)

    def _end_successor(self) -> None:
        if self._successor is not None:
            self._successor.end()
        self._successor = None

    def end_others(self) -> None:
        """Ends all servers but the one that serves."""
        self._end_successor()
        for one in self._leaving:
            one.end()
        self._leaving = []

    def restart(self, why: str) -> None:
        """Starts the server again with what it served, on the same ports. Raises GivenUp."""
        models = sorted(self._models)
        self._host.say(f"{why}; starting it again with {len(models)} models")
        self._reloads.stop()
        self.end_others()
        for attempt, pause in enumerate((*PAUSES, None)):
            end(self.process)
            self._host.clean()
            # what ends a server that loads side by side does not always do so one by one
            there = [model for model in models if missing(self._host.repositories, model) is None]
            self.process = self._host.start(there, *([ONE_BY_ONE] if attempt > 1 else []))
            self._begin()
            failed = self._started()
            if not self._host.wanted():
                return
            if failed is None:
                break
            if pause is None:
                end(self.process)
                raise GivenUp(f"tritonserver did not start {attempt + 1} times in a row, the last time since {failed}")
            self._host.say(f"tritonserver did not start: {failed}; trying again in {pause:g} s")
            self._rest(pause)
        self._host.say("tritonserver is there again")
        with contextlib.suppress(OSError):  # the next look tells what it is
            served = {model for model, _ in self._host.control.ready(ANSWER_SECONDS)}
            for model in models:
                if model not in served:
                    self._reloads.add(model, anew=False)

    def _started(self) -> str | None:
        """Waits until the server is live; why it never will be, if so."""
        watch = Watch(self)
        while self._host.wanted() and not self._host.control.live():
            if (why := watch.stopped()) is not None:
                return why
            self.note()
            self._rest(0.05)
        return None

    def note(self) -> None:
        """To be called while a server starts, so that a process is seen that dies as soon as its model is loaded."""
        self._presence.note(stubs(self.process.pid))

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._host.wanted() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
