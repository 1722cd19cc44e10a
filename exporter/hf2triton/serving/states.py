"""Tracks how long model processes have been dead, stopped, missing, or quiet despite having work.

Uses only the standard library.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from .loading import DEAD_SECONDS
from .missing import instances
from .proc import Quiet
from .stubs import Stub
from .work import busy

#: How long a process may be stopped (SIGSTOP). Triton itself takes 1.5 s to fail a model, or ends after that.
STOPPED_SECONDS = 2.0
#: How long a process may do nothing while requests wait for it.
QUIET_SECONDS = 10.0
#: How long a model that is being loaded may lack a process while nothing happens that could bring it.
LACKING_SECONDS = 30.0
#: How often that is checked: it reads the states of all threads.
LOOK_SECONDS = 1.0


class ProcessStates:
    """The states of the processes below one tritonserver, updated at each look."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, str], float] = {}  # process, its state -> when it began
        self._owners: dict[int, str] = {}  # process -> its model

    def see(self, found: Sequence[Stub]) -> list[Stub]:
        """Records the states of these processes, and returns those that have been stopped for too long."""
        known = {stub.pid for stub in found}
        self._owners = {pid: model for pid, model in self._owners.items() if pid in known}
        self._owners |= {stub.pid: stub.model for stub in found if stub.model}
        now, before = time.monotonic(), self._since
        self._since = {key: before.get(key, now) for key in ((stub.pid, stub.state) for stub in found)}
        stopped = [stub for stub in found if stub.state == "T"]
        return [stub for stub in stopped if now - self._since[stub.pid, "T"] > STOPPED_SECONDS]

    def stuck(self, began: Mapping[str, float]) -> str | None:
        """A model that will never be loaded because its process died while loading. `began`: model -> when its loading began."""
        now = time.monotonic()
        for model, start in began.items():
            for (pid, letter), since in self._since.items():
                late = letter == "Z" and start < since < now - DEAD_SECONDS
                if late and self._owners.get(pid, model) == model:
                    return model
        return None


class Loads:
    """Finds exported models that will never be loaded because Triton waits for a process that is not there. If a process ends
    just after its start, Triton may wait for its first message for ever, without leaving a dead process (seen with 2.51).

    The sign is that the model has too few processes, while none that takes part in loading does anything.
    """

    def __init__(self, repositories: Collection[Path], backends: Collection[str]) -> None:
        self._repositories = repositories
        self._backends = backends
        self._quiet = Quiet()
        self._looked = -LOOK_SECONDS
        self._active = time.monotonic()  # when anything that takes part was last seen working

    def stuck(self, found: Sequence[Stub], began: Mapping[str, float], server: int | None = None) -> str | None:
        """A model that will never be loaded. `began`: model -> when its loading began. `server`: the process id of tritonserver
        if it does nothing but load."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        loading = [stub for stub in found if not stub.dead and stub.model in (*began, "")]
        pids = {stub.pid for stub in loading} | ({server} if server is not None else set())
        self._quiet.keep(pids)
        self._active = max([self._active, *(now - self._quiet.seconds(pid) for pid in pids)])
        there = Counter(stub.model for stub in loading)
        for model, start in began.items():
            late = now - max(start, self._active) > LACKING_SECONDS
            if late and there[model] < instances(self._repositories, model, self._backends):
                return model
        return None


class Hanging:
    """Finds model processes that never finish although nobody stopped them, as in a deadlock. Triton does not check for these.

    The sign is that requests wait all the time while the process neither runs nor wants to. Endless loops are not detected,
    because they look like a long computation.
    """

    def __init__(self) -> None:
        self._quiet = Quiet()

    def found(self, stubs: Collection[Stub], metrics: str) -> list[Stub]:
        """The processes that have been quiet for too long despite having work all the time. `metrics`: Triton's metrics, which
        show the work."""
        waited_for = busy(metrics)
        waiting = [stub for stub in stubs if not stub.dead and stub.model in waited_for]
        self._quiet.keep({stub.pid for stub in waiting})
        return [stub for stub in waiting if self._quiet.seconds(stub.pid) > QUIET_SECONDS]
