"""The processes of Python models below a tritonserver. Uses only the standard library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from .proc import Status, all_pids, status

#: The name of such a process; the kernel keeps 15 characters.
STUB = "triton_python_backend_stub"[:15]
#: The kernel's letters for a process that has ended.
_ENDED = "ZX"
#: Triton's name for the folder into which it copies a model from an object store.
_COPIED = re.compile(r"folder\w{6}")


@dataclass(frozen=True)
class Stub:
    """A model's process. `state`: the kernel's letter, Z for ended and T for stopped. `model` and `version` are empty if unknown:
    they come from the command line, which a process loses when it ends."""

    pid: int
    state: str
    model: str = ""
    version: str = ""

    @property
    def dead(self) -> bool:
        return self.state in _ENDED


class Stubs:
    """Looks for the processes of Python models that the tritonserver with this process id started and has not waited for yet.

    Looks at other processes once, since no process changes its parent to the server, and reads each model once: both cost more
    than everything else that a supervisor does."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._others: set[int] = set()
        self._models: dict[int, tuple[str, str]] = {}

    def found(self) -> list[Stub]:
        pids = set(all_pids())
        self._others &= pids
        self._models = {pid: model for pid, model in self._models.items() if pid in pids}
        looked_at = [(pid, one) for pid in sorted(pids - self._others) if (one := status(pid)) is not None]
        self._others |= {pid for pid, one in looked_at if one.parent != self._server}
        # a process that was just forked still has the server's name
        return [self._stub(pid, one) for pid, one in looked_at if one.parent == self._server and one.name == STUB]

    def _stub(self, pid: int, one: Status) -> Stub:
        if one.letter not in _ENDED and self._models.get(pid, ("", "")) == ("", ""):
            self._models[pid] = _model(pid)
        return Stub(pid, one.letter, *self._models.get(pid, ("", "")))


def stubs(server: int) -> list[Stub]:
    """The processes of Python models below a tritonserver, at one look."""
    return Stubs(server).found()


def dead_stubs(server: int) -> list[int]:
    """The ids of the processes that have ended."""
    return [stub.pid for stub in stubs(server) if stub.dead]


def _model(pid: int) -> tuple[str, str]:
    """Model and version of a stub. Its command line has the path REPOSITORY/MODEL/VERSION/FILE and the name of its instance."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 – as often as proc.status
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return "", ""
    parts = PurePosixPath(words[1] if len(words) > 1 else "").parts
    if len(parts) < 3:
        return "", ""
    if _COPIED.fullmatch(parts[-3]) and len(words) > 8:
        return re.sub(r"_\d+_\d+$", "", words[8]), parts[-2]
    return parts[-3], parts[-2]
