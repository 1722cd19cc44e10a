"""Supervises a running tritonserver: restarts it when it ends or hangs, and brings back models whose process has died.

Such a model stays "ready" in Triton while each of its requests fails, and Triton starts no other process for it. Five times a
second, the supervisor compares the processes that should exist according to Triton with those that do exist, so it does not
matter when a process died. Uses only the standard library: the container has this file too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
from collections.abc import Collection, Iterable, Sequence

from .host import Host
from .loading import ONE_BY_ONE, Watch
from .missing import is_export, missing
from .presence import Expected, Presence
from .proc import Quiet, letter
from .reloads import Reloads
from .renewal import KEPT, Renewal, Successor, end, kept
from .sockets import end_connections
from .states import QUIET_SECONDS, STOPPED_SECONDS, Hanging, Loads, ProcessStates
from .stubs import Stub, Stubs
from .work import generating

POLL_SECONDS = 0.2
#: How long tritonserver may take to answer; how long it may be silent on all its ports while it does nothing; and how long while
#: it is busy, as on an overloaded machine.
ANSWER_SECONDS, SILENT_SECONDS, BUSY_SECONDS = 1.0, 3.0, 30.0
#: How often processes are checked for having work and doing nothing.
HANGING_SECONDS = 1.0
#: Seconds before further tries to start a server; after the last try, the supervisor gives up.
PAUSES = (0.5, 2.0, 8.0, 20.0)
#: The name prefix of models that a publisher is trying; a restarted server omits them.
CANDIDATE = "_candidate-"


class GivenUp(Exception):
    """The server cannot be started any more."""


class Supervisor:
    """Supervises a tritonserver, `process`, that has loaded as many of `models` as it could."""

    def __init__(self, host: Host, process: subprocess.Popen[bytes], models: Iterable[str]) -> None:
        self._host = host
        self.process = process
        self._ready = [(model, "") for model in models]  # at the last look
        # what an earlier server had but this one may lack; "" stands for any version
        self._owed: set[tuple[str, str]] = set()
        self._awaited: set[str] = set()  # what was being brought back when `_ready` was read
        self._presence = Presence(host.control, host.backends)
        self._renewal = Renewal(host)
        self._down: set[str] | None = None
        self._begin()

    @property
    def _models(self) -> set[str]:
        """The models that are served or should be."""
        served = {model for model, _ in [*self._ready, *self._owed] if not model.startswith(CANDIDATE)}
        return served | self._awaited | set(self._reloads.began)

    @property
    def pid(self) -> int | None:
        """The id of tritonserver; None once it has ended."""
        return None if self.process.poll() is not None else self.process.pid

    def run(self) -> None:
        """Runs until the server is no longer wanted; the caller ends it. Raises GivenUp."""
        while self._host.wanted():
            before = time.monotonic()
            time.sleep(POLL_SECONDS)
            if time.monotonic() - before > POLL_SECONDS + ANSWER_SECONDS:
                self._forget()  # this process was paused, maybe with all others
            if self._host.wanted() and (why := self._look()) is not None:
                self.restart(why)
            self._note(set(self._reloads.began))

    def _note(self, down: set[str]) -> None:
        if down != self._down:
            self._host.down(down)
        self._down = down

    def _begin(self) -> None:
        """Begins to supervise a new server."""
        self._reloads = Reloads(self._host.control, self._host.repositories, self._host.say)
        self._stubs = Stubs(self.process.pid)
        self._deaths = 0
        self._incomplete: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Forgets how long processes have been in their states."""
        self._states, self._quiet, self._hanging = ProcessStates(), Quiet(), Hanging()
        self._loads = Loads(self._host.repositories, self._host.backends)
        self._stood: float | None = None  # when the server was first seen stopped
        self._answered = self._looked = time.monotonic()

    def _look(self) -> str | None:
        """Checks the server and its models. Returns why the server has to be restarted, or None."""
        self._renewal.look()
        if (why := self._stopped()) is not None or self._stood is not None:
            return why
        found = self._stubs.found()
        self._end_stopped(found)
        began = self._reloads.began.copy()
        if (model := self._states.stuck(began) or self._loads.stuck(found, began)) is not None:
            return _in_vain(model)
        try:
            awaited = set(self._reloads.began)
            ready = self._host.control.ready(ANSWER_SECONDS)
            self._answered = time.monotonic()
            self._settle(ready, awaited)
            self._end_hanging(found, {model for model, _ in ready})
            why = self._mend(self._presence.lacking(ready, found))
            if why is None:
                self._renew()
            return why
        except OSError as error:
            return self._silent(error)

    def _stopped(self) -> str | None:
        """Why the server has to be restarted, if it has ended or been stopped for too long."""
        if (code := self.process.poll()) is not None:
            return f"tritonserver has ended ({_ending(code)})"
        if letter(self.process.pid) != "T":
            self._stood = None
            return None
        self._stood = self._stood or time.monotonic()
        stopped = time.monotonic() - self._stood > STOPPED_SECONDS
        return f"tritonserver was stopped for {STOPPED_SECONDS:g} s (SIGSTOP)" if stopped else None

    def _silent(self, error: OSError) -> str | None:
        """Why the server has to be restarted, if it did not answer because it hangs. A busy server answers later."""
        answers = self._host.metrics.answers
        if isinstance(error, urllib.error.HTTPError) or answers("metrics", ANSWER_SECONDS):
            self._answered = time.monotonic()
            self._quiet = Quiet()
            return None
        silent, quiet = time.monotonic() - self._answered, self._quiet.seconds(self.process.pid)
        # whether it is quiet is only known from the first question it did not answer
        if silent > BUSY_SECONDS or (silent > SILENT_SECONDS and quiet > SILENT_SECONDS - 2 * ANSWER_SECONDS):
            return f"tritonserver has not answered for {silent:.1f} s ({error})"
        return None

    def _end_stopped(self, found: Sequence[Stub]) -> None:
        for stub in self._states.see(found):
            if letter(stub.pid) == "T":  # check again: on a busy machine `found` may be old
                self._kill(stub, f"was stopped for {STOPPED_SECONDS:g} s (SIGSTOP)")

    def _end_hanging(self, found: Sequence[Stub], ready: Collection[str]) -> None:
        """Kills hanging processes. Leaves models alone that may be waiting for something else: those not exported by hf2triton,
        and those whose graph is another model."""
        if time.monotonic() - self._looked < HANGING_SECONDS:
            return
        self._looked = time.monotonic()
        alone = [stub for stub in found if f"{stub.model}_model" not in ready]
        with contextlib.suppress(OSError):  # it has no metrics, or is too busy to answer
            for stub in self._hanging.found(alone, self._host.metrics.ask("metrics", timeout=ANSWER_SECONDS)):
                if is_export(self._host.repositories, stub.model):
                    self._kill(stub, f"has done nothing for {QUIET_SECONDS:g} s though requests wait for it")

    def _kill(self, stub: Stub, why: str) -> None:
        """Kills the process of a model, which is then brought back like any model whose process died."""
        self._host.say(f"the process of model {stub.model} {why}; killing it")
        with contextlib.suppress(ProcessLookupError):
            os.kill(stub.pid, signal.SIGKILL)

    def _settle(self, ready: list[tuple[str, str]], awaited: set[str]) -> None:
        """Records what is ready, and loads what the previous server had and this one lacks."""
        names = {model for model, _ in ready}
        lacking = {
            name for name, version in self._owed if name not in names or (version and (name, version) not in ready)
        }
        for model in lacking:
            self._reloads.add(model, anew=False)
        self._owed, self._ready, self._awaited = set(), ready, awaited | lacking

    def _mend(self, lacking: dict[str, Expected]) -> str | None:
        """Brings back models that lack a process for the second time in a row; a model that is being unloaded briefly lacks one
        too. Returns why the server has to be restarted, or None."""
        lacking = {model: known for model, known in lacking.items() if model not in self._reloads.began}
        died = {model: known for model, known in lacking.items() if model in self._incomplete}
        self._incomplete = set(lacking)
        for model, known in died.items():
            self._deaths += 1
            self._host.say(f"the process of model {model} has died; reloading it")
            if known.decoupled and generating(self._host.metrics, model):
                never = f"tritonserver never ends the requests that model {model} was answering"
                try:
                    end_connections(self.process.pid)
                except OSError as error:  # not permitted here
                    return f"{never} ({error})"
                self._host.say(f"ended all connections: {never}")
            self._reloads.add(model)
        return None

    def _renew(self) -> None:
        """Lets another server take over if this one keeps too many leftovers of dead processes."""
        renewal, host = self._renewal, self._host
        if renewal.under_way:
            if (successor := renewal.ready()) is not None:
                self._take_over(successor)
            return
        wanted = self._deaths >= KEPT and host.renews and renewal.over and not self._reloads.began
        if wanted and kept(self.process.pid, host.shm_prefix) >= KEPT:
            self._deaths = 0  # if renewal fails, it is tried again after the same number of deaths
            renewal.begin(self.process, sorted(self._models))

    def _take_over(self, successor: Successor) -> None:
        awaited = self._awaited | set(self._reloads.began)
        # nothing would bring back models on the old server any more: if any are awaited there, end it at once
        self._renewal.take_over(successor, self.process, at_once=bool(awaited))
        self.process = successor.process
        self._owed = set(self._ready) | {(model, "") for model in awaited}
        self._reloads.stop()
        self._begin()
        self._host.say("another tritonserver has taken over")

    def end_others(self) -> None:
        """Ends all servers except the active one."""
        self._renewal.end()

    def restart(self, why: str) -> None:
        """Restarts the server with the models it served, on the same ports. Raises GivenUp."""
        models = sorted(self._models)
        self._host.say(f"{why}; starting it again with {len(models)} models")
        self._note(set(models))
        self._reloads.stop()
        self.end_others()
        for attempt, pause in enumerate((*PAUSES, None)):
            end(self.process)
            self._host.clean()
            # a model that ends the server when loaded beside others may load when loaded alone
            there = [model for model in models if missing(self._host.repositories, model) is None]
            self.process = self._host.start(there, *([ONE_BY_ONE] if attempt > 1 else []))
            self._begin()
            failed = self._started(there)
            if not self._host.wanted():
                return
            if failed is None:
                break
            if pause is None:
                end(self.process)
                raise GivenUp(f"tritonserver did not start {attempt + 1} times in a row, the last time since {failed}")
            self._host.say(f"tritonserver did not start: {failed}; trying again in {pause:g} s")
            self._rest(pause)
        self._owed, self._ready, self._awaited = {(model, "") for model in models}, [], set()
        self._host.say("tritonserver is there again")

    def _started(self, models: Iterable[str]) -> str | None:
        """Waits until the server is live, with these models. Returns why it never will be, or None."""
        watch, began = Watch(self), dict.fromkeys(models, time.monotonic())
        while self._host.wanted() and not self._host.control.live():
            if (why := watch.stopped() or self._stopped()) is not None:
                return why
            if (model := self._loads.stuck(self.note(), began, self.process.pid)) is not None:
                return _in_vain(model)
            self._rest(0.05)
        return None

    def note(self) -> list[Stub]:
        """Call this while a server starts, to notice processes that die right after loading. Returns those that are there."""
        found = self._stubs.found()
        self._end_stopped(found)
        self._presence.note(found)
        return found

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._host.wanted() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, POLL_SECONDS))


def _in_vain(model: str) -> str:
    return f"the process of model {model} has died while it was loaded, for which tritonserver waits in vain"


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
