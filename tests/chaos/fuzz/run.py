"""Sends examples to a server and looks whether it stays what it was."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from ..cast import Entry
from ..memory import Peaks
from ..promises import SLACK
from ..raw import Probe, ask, channel, probes_of, send
from ..recorder import same
from ..serving import Served
from . import corpus, images, parameters, requests, strings
from .example import Example

#: Seconds that one example may take.
SECONDS = 15.0
#: Examples that are sent at the same time, and so come to the same batch.
BATCH = 12
#: gRPC's status -> what became of the request. Any other status is not one that a sender can do something about.
_STATUS = {
    "INVALID_ARGUMENT": "refused",
    "NOT_FOUND": "refused",
    "OUT_OF_RANGE": "refused",
    "UNIMPLEMENTED": "refused",
    "RESOURCE_EXHAUSTED": "busy",
    "UNAVAILABLE": "busy",
    "DEADLINE_EXCEEDED": "hung",
}
#: What no message to a caller holds: where the server's files are, and where its code failed.
_LEAK = re.compile(r"\.py\b|Traceback|/model_repository/|site-packages|line \d+, in ")
#: kind of example -> the tasks that take it, and what makes one.
KINDS: Mapping[str, tuple[Sequence[str], Callable[[random.Random, str], Example]]] = {
    "strings": (strings.TASKS, strings.example),
    "images": (images.TASKS, images.example),
    "parameters": (parameters.TASKS, parameters.example),
    "requests": (requests.TASKS, requests.example),
}


@dataclass(frozen=True)
class Outcome:
    """`became`: "answered", "refused", "busy", "hung" or "failed"."""

    became: str
    text: str = ""
    seconds: float = 0.0


class Fuzzer:
    """`known`: (frontend, version) -> what its probe gives. `broken`: is told what is not as it should be. `restore`: has a
    server that was broken answer again. `found`: where examples are kept that broke something."""

    def __init__(
        self,
        served: Served,
        entries: Mapping[str, Entry],
        known: Mapping[tuple[str, int], list[Any]],
        broken: Callable[[str], None],
        restore: Callable[[], None],
        found: Path | None,
    ) -> None:
        self._served, self._entries, self._known = served, entries, known
        self._broken, self._restore = broken, restore
        self._folder = found
        self.sent = 0

    def frontend(self, example: Example) -> str | None:
        """The model that an example is for, None where it is not served."""
        entry = self._entries.get(example.task)
        if entry is None:
            return None
        name = (
            next(iter(entry.frontends.values()))
            if example.reads in ("", "graph")
            else entry.frontends.get(example.reads)
        )
        name = f"{name}_model" if example.reads == "graph" else name
        return name if name in self._served.stubs() else None

    def made(self, kind: str, rng: random.Random, count: int) -> Iterator[Example]:
        """Random examples of a kind."""
        tasks, make = KINDS[kind]
        tasks = [task for task in tasks if task in self._entries]
        for _ in range(count if tasks else 0):
            yield make(rng, rng.choice(tasks))

    def run(self, examples: Iterable[Example]) -> None:
        """In batches. What breaks something is sent again alone, and kept in the corpus if that shows it."""
        batch: list[Example] = []
        for example in examples:
            if example.alone:
                self._checked([example])
                continue
            batch.append(example)
            if len(batch) == BATCH:
                self._checked(batch)
                batch = []
        if batch:
            self._checked(batch)

    def _checked(self, batch: Sequence[Example]) -> None:
        problems = self._send(batch)
        if not problems:
            return
        culprits = [(example, text) for example, text in problems if example is not None]
        if not culprits and len(batch) > 1:
            for example in batch:
                self._restore()
                if alone := self._send([example]):
                    culprits.append((example, alone[0][1]))
        for example, text in culprits:
            self._broken(f"{text}; sent: {_short(example)}")
            if self._folder is not None:
                corpus.keep(example, text, self._folder)
        for example, text in problems:
            if example is None:
                self._broken(f"{text}; with {len(batch)} examples, of which {len(culprits)} show it alone")
        self._restore()

    def _send(self, batch: Sequence[Example]) -> list[tuple[Example | None, str]]:
        """What is not as it should be, with the example that shows it by itself, if one does."""
        before = self._served.identities()
        probes = [probe for task in {one.task for one in batch} for probe in probes_of(self._entries[task])]
        beside = [] if any(one.alone for one in batch) else probes
        problems: list[tuple[Example | None, str]] = []
        with Peaks(self._served) as peaks, ThreadPoolExecutor(len(batch) + len(beside)) as pool:
            neighbours = [pool.submit(self._wrong_with, probe) for probe in beside]
            outcomes = list(pool.map(self.outcome, batch))
            problems += [(None, f"a neighbour: {text}") for text in (one.result() for one in neighbours) if text]
        problems += [
            (one, text) for one, outcome in zip(batch, outcomes, strict=True) if (text := _unfit(one, outcome))
        ]
        problems += [(None, f"afterwards: {text}") for text in map(self._wrong_with, probes) if text]
        problems += [(None, text) for text in peaks.over()]
        if changed := self._served.replaced(before):
            problems.append((None, f"processes were replaced: {', '.join(changed)}"))
        return problems

    def outcome(self, example: Example) -> Outcome:
        """Sends one example and tells what became of it."""
        frontend = self.frontend(example)
        if frontend is None:
            return Outcome("refused", "not served")
        self.sent += 1
        began = time.monotonic()
        became, text = "answered", ""
        try:
            with channel(self._served.url) as stub:
                send(stub, example.message(frontend), SECONDS, streams=example.task == "text-generation")
        except grpc.RpcError as error:
            became, text = _STATUS.get(error.code().name, "failed"), f"{error.code().name}: {error.details()}"
        except RuntimeError as error:  # the frontend writes its code before
            code = str(error).partition(":")[0]
            became, text = {"INTERNAL": "failed", "UNAVAILABLE": "busy"}.get(code, "refused"), str(error)
        return Outcome(became, text, time.monotonic() - began)

    def _wrong_with(self, probe: Probe) -> str:
        try:
            version, values = ask(self._served.url, probe, SECONDS)
        except (grpc.RpcError, RuntimeError) as error:
            text = error.details() if isinstance(error, grpc.RpcError) else str(error)
            return f"a good request to {probe.frontend} failed: {text}"
        known = self._known.get((probe.frontend, version), [])
        return "" if same(known, values, 0.05) else f"{probe.frontend} answers a good request with {values!r}"


def _unfit(example: Example, outcome: Outcome) -> str:
    """Why an outcome is none that an example may have, "" if it may."""
    text = outcome.text[:300]
    if example.alone:
        return f"no end within {SECONDS:.0f} s" if outcome.became == "hung" else ""
    if outcome.became == "hung" or outcome.seconds > SECONDS + SLACK:
        return f"no end within {SECONDS:.0f} s: {text}"
    if outcome.became == "failed" and example.reads != "graph":  # Triton's own backends say no more than that
        return f"not told as a fault of the request: {text}"
    if _LEAK.search(outcome.text):
        return f"the message tells where code or files are: {text}"
    if example.expect != "either" and outcome.became not in (example.expect, "busy"):
        return f"{outcome.became}, not {example.expect}: {text}"
    return ""


def _short(example: Example) -> str:
    return f"to {example.task} {example.reads} {example.request}"[:600]
