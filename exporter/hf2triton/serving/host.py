"""What a supervisor needs from the program that contains it. Uses only the standard library."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from .loading import Control


class Host(Protocol):
    """The program that runs a server. `metrics`: the server's metrics port. `shm_prefix`: the name prefix of its shared memory.
    `repositories`: where its models are, if on this machine. `backends`: the backends whose models are processes. `renews`:
    whether another server may take its place; false if callers have registered things that the other would not know."""

    control: Control
    metrics: Control
    shm_prefix: str
    repositories: Sequence[Path]
    backends: Collection[str]
    renews: bool

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen[bytes]:
        """Starts a tritonserver in its own session that loads these models. `flags`: further flags for tritonserver."""
        ...

    def clean(self) -> None:
        """Removes what servers left, while none is running."""

    def wanted(self) -> bool:
        """Whether the server should keep running."""
        ...

    def say(self, message: str) -> None:
        """Tells the operator, if possible. Any thread may call this."""

    def down(self, models: Collection[str]) -> None:
        """Called whenever the set of models being brought back changes. While a server is brought back, the set is all its
        models."""
