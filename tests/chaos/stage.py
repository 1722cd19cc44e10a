"""What a fault has at hand, and how the server is found well again."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from .callers import Crew
from .cast import Entry
from .namespace import Namespace
from .promises import RECONNECT, SLACK, Window
from .proxy import Proxy
from .raw import Probe, ask, probes_of
from .recorder import QUIET, Recorder, same
from .repository import Models
from .serving import Served

#: How long a server is waited for that did not come back within its time, before it is started anew.
PATIENCE = 40.0


@dataclass
class Stage:
    """`window`: that of the fault under way. `known`: (frontend, version) -> what its probe gave in the quiet state."""

    models: Models
    served: Served
    proxy: Proxy
    namespace: Namespace
    recorder: Recorder
    crew: Crew
    entries: dict[str, Entry]
    random: random.Random
    folder: Path
    seed: int
    window: Window | None = None
    known: dict[tuple[str, int], list[Any]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.served.url

    def touch(self, *models: str) -> None:
        """Only the callers of these models may notice the fault."""
        self.window.models = models

    def entry(self, task: str) -> Entry:
        return self.entries[task]

    def entry_of(self, frontend: str) -> Entry:
        """The entry that a model of Triton belongs to, as a frontend or behind one."""
        return next(one for one in self.entries.values() if frontend.removesuffix("_model") in one.frontends.values())

    def probes(self, models: Collection[str] | None = None) -> list[Probe]:
        chosen = [one for one in self.entries.values() if models is None or one.name in models]
        return [probe for entry in chosen for probe in probes_of(entry)]

    def learn(self) -> None:
        """What the probes give now is right."""
        for probe in self.probes():
            version, values = ask(self.url, probe, 60.0)
            self.known[probe.frontend, version] = values

    def broken(self, text: str) -> None:
        self.recorder.broken(self.window.fault if self.window else QUIET, text)

    def wrong_with(self, probe: Probe, timeout: float = 5.0) -> str:
        """Why a frontend does not answer as it should, "" if it does."""
        try:
            version, values = ask(self.url, probe, timeout)
        except (grpc.RpcError, RuntimeError) as error:
            return f"{probe.frontend}: {type(error).__name__}: {_text(error)}"
        known = self.known.get((probe.frontend, version))
        return (
            ""
            if known is not None and same(known, values, 0.05)
            else f"{probe.frontend}, version {version}: {values!r}"
        )

    def recover(self, models: Collection[str] | None = None) -> None:
        """Waits until the models answer as they should, and closes the window. A server that stays away is started anew."""
        window = self.window
        window.over = window.over or time.monotonic()
        promised = window.promise.back + (2 * self.served.start_seconds if window.promise.starts else 0.0)
        left, why, late = self.probes(models), "", False
        while left:
            why = self.wrong_with(left[0])
            took = time.monotonic() - window.over
            if not why:
                left.pop(0)
                continue
            if took > promised + SLACK and not late:
                late = True
                self.broken(f"not back {took:.1f} s after it was over, which should take {promised:.1f} s: {why}")
                window.end = time.monotonic()
            if took > promised + PATIENCE or not self.served.running:
                self.broken(f"the server is started anew by the run; it said:\n{self.served.said()[-1500:]}")
                self.revive()
                left = self.probes()
            time.sleep(0.1)
        back = time.monotonic()
        self.recorder.tallies[window.fault].recoveries.append(back - window.over)
        window.well = back + RECONNECT + SLACK / 2
        if not late:
            window.end = window.well

    def revive(self) -> None:
        """Starts a server that is gone, or that nobody can wait for. Raises RuntimeError."""
        self.served.stop(5.0)
        self.served.start()

    def restore(self) -> None:
        """Waits for a server within a fault, and starts it anew where nobody else does."""
        if not wait(lambda: self.served.running and self.served.ready(), PATIENCE):
            self.revive()

    @contextmanager
    def same_processes(self) -> Iterator[None]:
        """Nothing may be restarted meanwhile."""
        before, crashes = self.served.identities(), self.served.crashes()
        yield
        if self.window.promise.crash and self.served.crashes() > crashes:
            self.recorder.crashes += 1
        elif changed := self.served.replaced(before):
            self.broken(f"processes were replaced: {', '.join(changed)}")


def _text(error: Exception) -> str:
    return (error.details() or "") if isinstance(error, grpc.RpcError) else str(error)


def wait(condition: Any, seconds: float, pause: float = 0.02) -> Any:
    """What a condition gives once it holds, or at the end of the time."""
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(pause)
    return value
