"""More than the server can do, and a server that is stopped while another goes on."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

from ...end_to_end.names import names
from ..callers import Crew
from ..cast import questions
from ..promises import AWAY, BUSY, Promise
from ..serving import Served
from ..stage import Stage
from . import Fault, needs
from .clients import act

NAME = "triton.example"
OTHER = "127.0.0.2"
#: The models that the second server has, and that are asked over the name of both.
TASKS = ("text-classification", "text-generation")
#: The version of Triton 25.04.
_NO_CRASH = (2, 57)


def flood(stage: Stage) -> None:
    """Thousands of calls at once whose deadlines are shorter than all of them take. Old releases of Triton may crash where a
    deadline passes just as its call's answer is ready: https://github.com/triton-inference-server/server/issues/8034"""
    if stage.served.version() < _NO_CRASH:
        promise = stage.window.promise
        refusals, own = promise.refusals | AWAY, promise.own | AWAY
        stage.window.promise = replace(promise, refusals=refusals, own=own, starts=True, crash=True)
    act(stage, "flood")


def drained(stage: Stage) -> None:
    """Two servers stand behind one name. One is stopped in good order while it is asked; it costs nobody an error."""
    entries = {task: stage.entries[task] for task in TASKS}
    repository = stage.folder / "drained"
    for entry in entries.values():
        for frontend in entry.frontends.values():
            shutil.copytree(stage.models.served / frontend, repository / frontend)
    second = Served(repository, stage.folder / "drained-server", stage.namespace, OTHER, stage.served.ports)
    crew = Crew(stage.recorder, stage.seed)
    try:
        second.start()
        with names() as dns:
            dns.addresses[NAME] = [stage.served.host, OTHER]
            crew.blocking(4, dns.target(NAME, stage.served.ports["grpc"]), "two servers", questions(entries))
            time.sleep(3)
            second.stop()  # a SIGTERM to the command, as from a service manager
            dns.addresses[NAME] = [stage.served.host]
            time.sleep(3)
            crew.stop(25.0)
    finally:
        crew.stop(0.0)
        second.stop(5.0)
        shutil.rmtree(repository)


FAULTS = {
    "flood": Fault(flood, Promise(BUSY - {"DeadlineExceeded"}, own=BUSY, back=5, steady=True)),
    "drained": Fault(drained, Promise(steady=True), needs(*TASKS)),
}
