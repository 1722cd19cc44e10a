"""The processes of Python models below a tritonserver, as /proc has them. The standard library alone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_STUB = "triton_python_backend_stub"[:15]  # the kernel keeps 15 characters of a name
#: What Triton names the folder into which it copies a model of an object store.
_COPIED = re.compile(r"folder\w{6}")


@dataclass(frozen=True)
class Stub:
    """`state`: the kernel's letter, Z for one that has ended and T for one that is stopped. `model` and `version` are empty where
    they cannot be known: the command line names them, which a process loses when it ends."""

    pid: int
    state: str
    model: str = ""
    version: str = ""

    @property
    def dead(self) -> bool:
        return self.state in "ZX"


def stubs(server: int) -> list[Stub]:
    """The processes of Python models that the tritonserver with this id has started and not waited for."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        stat = _stat(int(name))
        if stat is not None and stat[0] == _STUB and stat[2] == server:
            found.append(Stub(int(name), stat[1], *_model(int(name))))
    return found


def state(pid: int) -> str:
    """The kernel's letter for what a process does; "" where there is none."""
    stat = _stat(pid)
    return stat[1] if stat else ""


def _stat(pid: int) -> tuple[str, str, int] | None:
    """Name, state and parent of a process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:  # it has ended meanwhile
        return None
    status, parent = text[text.rindex(")") + 2 :].split()[:2]
    return text[text.index("(") + 1 : text.rindex(")")], status, int(parent)


def _model(pid: int) -> tuple[str, str]:
    """Model and version of a stub: its command line has the path REPOSITORY/MODEL/VERSION/FILE, and the name of its instance."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return "", ""
    parts = PurePosixPath(words[1] if len(words) > 1 else "").parts
    if len(parts) < 3:
        return "", ""
    if _COPIED.fullmatch(parts[-3]) and len(words) > 8:
        return re.sub(r"_\d+_\d+$", "", words[8]), parts[-2]
    return parts[-3], parts[-2]
