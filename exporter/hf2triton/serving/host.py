"""What a supervisor needs of the program that it is a part of. The standard library alone."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from .loading import Control


class Host(Protocol):
    """What runs a server. `metrics`: its port for them. `shm_prefix`: what the names of its shared memory begin with.
    `repositories`: where its models lie, if on this machine. `backends`: those whose models are processes. `renews`: whether
    another server may take its place; not where callers have registered what that would not know of."""

    control: Control
    metrics: Control
    shm_prefix: str
    repositories: Sequence[Path]
    backends: Collection[str]
    renews: bool

    def start(self, models: Sequence[str], *flags: str) -> subprocess.Popen[bytes]:
        """Starts a tritonserver, in a session of its own, that loads these models."""

    def clean(self) -> None:
        """Removes what servers have left. None is running."""

    def wanted(self) -> bool:
        """Whether the server is to run on."""

    def say(self, message: str) -> None:
        """Tells the operator, if that can be done. Any thread may call it."""

    def down(self, models: Collection[str]) -> None:
        """Notes which models are being brought back, or all with their server, whenever these are others."""
