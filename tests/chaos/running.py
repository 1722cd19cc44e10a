"""One run: the models, the server, the callers, then one fault after the other with quiet between."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from hf2triton_client import connect, pipeline

from .callers import Crew, ask, call_http_until, http_questions
from .cast import entries, questions
from .faults import Fault, all_faults
from .namespace import Namespace
from .promises import HTTP
from .proxy import Proxy
from .recorder import QUIET, Recorder, same
from .repository import make, take
from .serving import Served, fixed_ports, strays
from .stage import Stage

Say = Callable[[str], None]


def run(arguments: argparse.Namespace, folder: Path, say: Say) -> Recorder:
    """Everything. Raises RuntimeError where a server does not start, or is not well before anything was broken."""
    with set_up(arguments, folder, say) as stage:
        faults = _chosen(arguments, stage, say)
        if any(fault.inject.__module__.endswith("versions") for fault in faults.values()):
            _learn_versions(stage)
        start_callers(stage)
        stop = threading.Event()
        threading.Thread(target=_watch, args=(stage.recorder, stop), daemon=True).start()
        time.sleep(arguments.quiet)
        until = time.monotonic() + arguments.seconds
        for name in _order(faults, stage.random, arguments.once):
            if time.monotonic() > until:
                break
            _inject(stage, name, faults[name], say)
            time.sleep(arguments.quiet)
            stage.recorder.forget()
        say("the last calls end")
        stage.crew.stop(25.0)
        time.sleep(0.5)
        stage.recorder.look()
        stop.set()
    return stage.recorder


@contextmanager
def set_up(arguments: argparse.Namespace, folder: Path, say: Say) -> Iterator[Stage]:
    """A server, and what it answers in the quiet state. Nothing is left of it afterwards."""
    given = arguments.repository
    models = take(given, folder) if given else make(folder, arguments.cache, say)
    served_entries = entries(models.served)
    if tasks := [task for task in arguments.tasks.split(",") if task]:
        served_entries = {task: served_entries[task] for task in tasks}
    _keep_only(models.served, {frontend for entry in served_entries.values() for frontend in entry.frontends.values()})
    with ExitStack() as stack:
        stack.callback(_end_strays, folder)
        namespace = Namespace(folder / "log")
        stack.callback(namespace.close)
        if not namespace.private:
            say("mount namespaces are not permitted here: no disk is filled")
        served = Served(models.served, folder / "server", namespace)
        stack.callback(served.stop)
        served.start()
        say(f"served at {served.url} after {served.start_seconds:.1f} s: {', '.join(sorted(served.stubs()))}")
        proxy = Proxy(served.url, fixed_ports(1)[0])
        stack.callback(proxy.close)
        recorder = Recorder({})
        crew = Crew(recorder, arguments.seed)
        stack.callback(crew.stop, 0.0)
        seeded = random.Random(arguments.seed)
        stage = Stage(models, served, proxy, namespace, recorder, crew, served_entries, seeded, folder, arguments.seed)
        say("asking for the right answers")
        _learn(stage)
        yield stage


def _end_strays(folder: Path) -> None:
    """Whatever a server left behind is not to outlive the run."""
    for one in strays(folder):
        with contextlib.suppress(psutil.Error):
            one.kill()


def _keep_only(repository: Path, frontends: set[str]) -> None:
    """Entries that nobody asks need not be loaded."""
    for path in repository.iterdir():
        if path.is_dir() and path.name.removesuffix("_model") not in frontends:
            shutil.rmtree(path)


def _chosen(arguments: argparse.Namespace, stage: Stage, say: Say) -> dict[str, Fault]:
    only = [name for name in arguments.only.split(",") if name]
    without = arguments.without.split(",")
    chosen = {}
    for name, fault in all_faults().items():
        if (only and name not in only) or name in without:
            continue
        if reason := fault.possible(stage):
            say(f"{name} is left out: {reason}")
            continue
        chosen[name] = fault
    return chosen


def _learn_versions(stage: Stage) -> None:
    """What is right of second versions."""
    from .faults.versions import switch

    for name in stage.models.second_versions():
        switch(stage, name, 2)
    _learn(stage)
    for name in stage.models.second_versions():
        switch(stage, name, 1)


def _learn(stage: Stage) -> None:
    """Asks each question twice, and the probes: what is answered in the quiet state is right. Raises RuntimeError where the same
    question has two answers."""
    stage.learn()
    truth = stage.recorder.truth
    with connect(stage.url) as connection:
        asked = questions(stage.entries)
        pipes: dict[str, Any] = {
            model: pipeline(model=model, connection=connection) for model in {one.model for one in asked}
        }
        for question in [*asked, *http_questions(stage.entries, stage.served.http_url)]:
            for _ in range(2):
                answers = ask(pipes[question.model], question) if "HTTP" not in question.name else question.call(None)
                values = [value for value, _ in answers]
                known = truth.setdefault((question.name, answers[0][1]), values)
                if not same(known, values):
                    raise RuntimeError(f"{question.name} is answered in two ways when all is quiet: {known}, {values}")


def start_callers(stage: Stage) -> None:
    asked, crew = questions(stage.entries), stage.crew
    crew.blocking(4, stage.url, "direct", asked)
    crew.blocking(3, stage.proxy.url, "proxy", asked)
    crew.coroutines(4, stage.url, asked)
    if over_http := http_questions(stage.entries, stage.served.http_url):
        crew.blocking(2, stage.served.http_url, HTTP, over_http, call_http_until)
    crew.process(str(stage.models.served), stage.url)


def _watch(recorder: Recorder, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        recorder.look()


def _order(faults: dict[str, Fault], seeded: random.Random, once: bool) -> Iterator[str]:
    """All of them in an order, then all in another."""
    while faults:
        names = sorted(faults)
        seeded.shuffle(names)
        yield from names
        if once:
            return


def _inject(stage: Stage, name: str, fault: Fault, say: Say) -> None:
    """One fault, until all is well again."""
    before = stage.recorder.bad
    stage.window = stage.recorder.open(name, fault.promise)
    with ExitStack() as stack:
        if fault.promise.steady:
            stack.enter_context(stage.same_processes())
        try:
            fault.inject(stage)
        except Exception as error:  # of what a fault does to a server that is not as it should be
            stage.broken(f"it could not be injected: {type(error).__name__}: {error}")
        stage.recover()
    bad = stage.recorder.bad - before
    recovery = stage.recorder.tallies[name].recoveries[-1]
    say(f"{name}: well again after {recovery:.1f} s{f', {bad} NOT AS PROMISED' if bad else ''}")
    stage.window = None


__all__ = ["QUIET", "run"]
