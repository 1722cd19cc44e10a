"""Processes that die, or hang: those of models, and of the server."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import psutil

from ..promises import AWAY, MODEL_AWAY, TOLD, Promise
from ..serving import alive, strays
from ..stage import Stage, wait
from . import Fault, needs

GENERATES = "text-generation"
#: How soon after its start a process dies again.
SOON = 0.2


def stub_killed(stage: Stage) -> None:
    """The process of one model is killed."""
    _kill(stage, _any(stage))


def stub_killed_generating(stage: Stage) -> None:
    """The process of the model that generates is killed while it does."""
    entry = stage.entries[GENERATES]
    wait(lambda: any(call.kind != "call" for call in stage.recorder.under_way()), 10)
    _kill(stage, entry.frontends[""])


def stub_killed_twice(stage: Stage) -> None:
    """It is killed, and again as soon as it is there again. One that dies as its model is loaded takes the server with it, which
    would wait for it in vain."""
    frontend = _any(stage)
    first = _kill(stage, frontend)

    def again() -> psutil.Process | None:
        found = stage.served.stubs().get(frontend)
        return found if found is not None and found.pid != first else None

    stage.window.models = None
    second = wait(again, 30)
    if second is None:
        stage.broken(f"the process of {frontend} was not started again within 30 s")
        return
    time.sleep(stage.random.uniform(0, SOON))
    with contextlib.suppress(psutil.NoSuchProcess):
        second.kill()
    stage.window.over = time.monotonic()


def stub_paused(stage: Stage) -> None:
    """The process of a model stands still for a while, with requests under way."""
    frontend = _any(stage)
    stub = stage.served.stubs()[frontend]
    stub.suspend()
    time.sleep(stage.random.uniform(1, 3))
    with contextlib.suppress(psutil.NoSuchProcess):
        stub.resume()


def stub_paused_for_ever(stage: Stage) -> None:
    """The process of a model stands still, and nobody sets it going."""
    frontend = _any(stage)
    stage.served.stubs()[frontend].suspend()


def server_paused(stage: Stage) -> None:
    """tritonserver stands still for 1.5 s."""
    server = stage.served.tritonserver()
    server.suspend()
    time.sleep(1.5)
    with contextlib.suppress(psutil.NoSuchProcess):
        server.resume()


def server_paused_for_ever(stage: Stage) -> None:
    """tritonserver stands still, and nobody sets it going."""
    stage.served.tritonserver().suspend()


def server_killed(stage: Stage) -> None:
    """tritonserver is killed."""
    stage.served.tritonserver().kill()


def server_terminated(stage: Stage) -> None:
    """tritonserver is told to end by somebody else than the command that started it."""
    server = stage.served.tritonserver()
    server.terminate()
    wait(lambda: not alive(server), 20)


def all_killed(stage: Stage) -> None:
    """The command, what watches over the server, and the server are killed at once; the command is given again."""
    served = stage.served
    stubs = list(served.stubs().values())
    for one in served.processes():
        if one not in stubs:
            one.kill()
    served.process.wait()
    served.start()
    stage.window.over = time.monotonic()
    time.sleep(1)
    own = {one.pid for one in served.processes()}
    folders = [path.name for path in (served.folder / "tmp").glob("hf2triton-server-*")]
    if len(folders) > 1:
        stage.broken(f"the server that was killed left a folder behind: {', '.join(folders)}")
    regions = {path.name.split("-")[1] for path in Path(stage.namespace.shared_memory).glob("hf2triton-*")}
    if left := regions - {str(pid) for pid in own}:
        stage.broken(f"the server that was killed, of process {', '.join(left)}, left shared memory behind")
    if left := strays(served.repository, own):
        stage.broken(f"processes of models are left: {', '.join(str(one.pid) for one in left)}")


def _any(stage: Stage) -> str:
    """One of the models that have a process; the window is for its callers alone."""
    return stage.random.choice(sorted(stage.served.stubs()))


def _kill(stage: Stage, frontend: str) -> int:
    stage.touch(stage.entry_of(frontend).name)
    stub = stage.served.stubs()[frontend]
    stub.kill()
    stage.window.over = time.monotonic()
    return stub.pid


#: A model that dies while it generates takes all connections with it: tritonserver never ends its requests. The client asks again
#: what it asked of other models; bare HTTP does not.
_MODEL_DIES = Promise(MODEL_AWAY, over_http=frozenset({"HTTPFailed"}), told=TOLD, back=5)
_SERVER_DIES = Promise(AWAY, told=TOLD, back=2, starts=True)
_HANGS = Promise(MODEL_AWAY, told=TOLD, back=TOLD, starts=True)
FAULTS = {
    "stub_killed": Fault(stub_killed, _MODEL_DIES),
    "stub_killed_generating": Fault(stub_killed_generating, _MODEL_DIES, needs(GENERATES)),
    "stub_killed_twice": Fault(stub_killed_twice, replace(_MODEL_DIES, told=2 * TOLD, back=10, starts=True)),
    "stub_paused": Fault(stub_paused, _HANGS),
    "stub_paused_for_ever": Fault(stub_paused_for_ever, _HANGS),
    "server_paused": Fault(server_paused, _HANGS),
    "server_paused_for_ever": Fault(server_paused_for_ever, Promise(AWAY, told=TOLD, back=TOLD, starts=True)),
    "server_killed": Fault(server_killed, _SERVER_DIES),
    "server_terminated": Fault(server_terminated, Promise(AWAY | {"ModelNotFound"}, told=TOLD, back=2, starts=True)),
    "all_killed": Fault(all_killed, Promise(AWAY, told=TOLD, back=2)),
}
