"""A process with clients of its own, which says on its output what it asks and is answered: `callers.follow` reads it.

    python -m tests.chaos.remote REPOSITORY URL SEED [ACT]

Without an act it calls until its input ends. With one it makes some calls, does that to its clients, goes on, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf2triton_client import aio, connect, pipeline
from hf2triton_client.transport.connection import Target

from .callers import ask_async, call_until, report
from .cast import Question, answers_of, entries, questions
from .promises import Call

#: The deadline of calls around an act: that of the others would make each act take its time.
SECONDS = 8.0
#: Calls of a flood.
FLOOD = 3000


class Reporter:
    """Has the methods of a Recorder that callers use."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._own_numbers()
        os.register_at_fork(after_in_child=self._own_numbers)

    def _own_numbers(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(os.getpid() * 1_000_000)

    def begin(self, caller: str, question: Question, route: str, seconds: float) -> Call:
        call = Call(
            next(self._numbers), f"process, {caller}", question.name, question.model, question.kind, route, 0.0, seconds
        )
        about = {name: getattr(call, name) for name in ("number", "caller", "question", "model", "kind", "seconds")}
        self._say("begin", **about, route=self._route)
        return call

    def answered(self, call: Call, answers: Any) -> None:
        self._say("answered", number=call.number, answers=answers)

    def failed(self, call: Call, error: str, text: str, partial: str | None = None) -> None:
        self._say("failed", number=call.number, error=error, text=text, partial=partial)

    def broken(self, fault: str, text: str) -> None:
        self._say("broken", fault=fault, text=text)

    def _say(self, event: str, **about: Any) -> None:
        line = json.dumps({"event": event, "at": time.monotonic(), **about}) + "\n"
        with self._lock:
            os.write(sys.stdout.fileno(), line.encode())


class Client:
    """A connection with several requests of one call behind it, so that all it makes for itself is made."""

    def __init__(self, url: str, asked: list[Question], reporter: Reporter, name: str) -> None:
        self._connection = connect(url, timeout=SECONDS)
        self._pipes = {one.model: pipeline(model=one.model, connection=self._connection) for one in asked}
        self.url, self.asked = url, asked
        self._reporter, self._name = reporter, name

    def call(self, index: int) -> None:
        """Asks a question: those of many texts, and so of several requests, come first."""
        question = self.asked[index % len(self.asked)]
        call = self._reporter.begin(self._name, question, "", SECONDS)
        try:
            answers = answers_of(question.call(self._pipes[question.model]))
        except Exception as error:
            report(self._reporter, call, error)
        else:
            self._reporter.answered(call, answers)

    def close(self) -> None:
        self._connection.close()


def fork(client: Client, reporter: Reporter, _: random.Random) -> None:
    """A child that has its parent's clients calls with them, and so does the parent."""
    child = os.fork()
    if child == 0:
        for index in range(3):
            client.call(index)
        os._exit(0)
    for index in range(3):
        client.call(index)
    until = time.monotonic() + 4 * SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.05)


class JumpingTime:
    """The module `time` with another time of day."""

    jump = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + self.jump

    def time_ns(self) -> int:
        return time.time_ns() + self.jump * 10**9


def clock(client: Client, _: Reporter, random_: random.Random) -> None:
    """The time of day jumps, as far as our own modules see it. The machine's cannot be moved for one process, and within gRPC
    one half would see what the other does not."""
    jumping = JumpingTime()
    for name, module in list(sys.modules.items()):
        if name.startswith("hf2triton_client") and getattr(module, "time", None) is time:
            module.time = jumping
    for jump in (3600, -3600, random_.randrange(-(10**6), 10**6)):
        jumping.jump = jump
        for index in range(4):
            client.call(index)


def close(client: Client, _: Reporter, random_: random.Random) -> None:
    """A connection is closed while threads call over it; whoever calls afterwards is told."""
    threads = [threading.Thread(target=client.call, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(random_.uniform(0, 0.1))
    client.close()
    client.call(0)
    client.close()
    for thread in threads:
        thread.join(4 * SECONDS)


def flood(client: Client, reporter: Reporter, random_: random.Random) -> None:
    """Thousands of calls at the same time, with deadlines of a few seconds."""
    asyncio.run(_flood(client, reporter, random_))


async def _flood(client: Client, reporter: Reporter, random_: random.Random) -> None:
    targets = [aio.AsyncConnection(Target(client.url, seconds), FLOOD) for seconds in (2.0, 4.0, 8.0)]
    short = [one for one in client.asked if one.kind == "call"]
    pipes = [
        {one.model: await aio.pipeline(model=one.model, connection=connection) for one in short}
        for connection in targets
    ]

    async def ask() -> None:
        question, index = random_.choice(short), random_.randrange(len(targets))
        call = reporter.begin("flood", question, "", targets[index].target.timeout)
        try:
            answers = await ask_async(pipes[index][question.model], question)
        except Exception as error:
            report(reporter, call, error)
        else:
            reporter.answered(call, answers)

    await asyncio.gather(*(ask() for _ in range(FLOOD)))
    for connection in targets:
        await connection.close()


ACTS: dict[str, Callable[[Client, Reporter, random.Random], None]] = {
    "fork": fork,
    "clock": clock,
    "close": close,
    "flood": flood,
}


def main(repository: str, url: str, seed: str, act: str | None = None) -> None:
    asked = questions(entries(Path(repository)))
    reporter = Reporter(act or "direct")
    if act is None:
        stop = threading.Event()
        arguments = [(stop, reporter, f"thread {index}", url, "", asked, f"{seed} {index}") for index in range(2)]
        for own in arguments:
            threading.Thread(target=call_until, args=own, daemon=True).start()
        sys.stdin.read()
        stop.set()
        time.sleep(1)
    else:
        kinds = {"call", "generation"}
        plain = sorted((one for one in asked if one.kind in kinds), key=lambda one: not one.name.endswith("/3"))[:4]
        client = Client(url, plain, reporter, act)
        for index in range(3):
            client.call(index)
        ACTS[act](client, reporter, random.Random(seed))
        with contextlib.suppress(Exception):
            client.close()
    os._exit(0)  # a thread that hangs must not keep it


if __name__ == "__main__":
    main(*sys.argv[1:])
