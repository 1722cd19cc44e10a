"""What a supervisor needs from the program it is part of. Uses only the standard library."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from .loading import Control


class Host(Protocol):
    """The program that runs a server. `metrics`: the server's metrics port. `shm_prefix`: the prefix of the names of its shared
    memory. `repositories`: where its models are, if on this machine. `backends`: those whose models are processes. `renews`:
    whether another server may take its place; not if callers have registered things that it would not know."""

    control: Control
    metrics: Control
    shm_prefix: str
    repositories: Sequence[Path]
    backends: Collection[str]
    renews: bool

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen[bytes]:
        """Starts a tritonserver in its own session that loads these models. `flags`: further ones of tritonserver."""
        ...

    def clean(self) -> None:
        """Removes what servers have left, while none is running."""

    def wanted(self) -> bool:
        """Whether the server should keep running."""
        ...

    def say(self, message: str) -> None:
        """Tells the operator, if possible. Any thread can call it."""

    def down(self, models: Collection[str]) -> None:
        """Called whenever the set of models that are being brought back changes; all of them, if their server is."""
