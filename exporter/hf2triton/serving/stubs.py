"""The processes of Python models below a tritonserver. Uses only the standard library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from .proc import processes

#: The name of such a process; the kernel keeps 15 characters.
STUB = "triton_python_backend_stub"[:15]
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
        return self.state in "ZX"


def stubs(server: int) -> list[Stub]:
    """The processes of Python models that the tritonserver with this process id started and has not waited for yet."""
    found = [(pid, one.letter) for pid, one in processes() if one.name == STUB and one.parent == server]
    return [Stub(pid, letter, *_model(pid)) for pid, letter in found]


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
