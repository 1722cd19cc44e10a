"""What a tritonserver leaves that was killed. The standard library alone."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from .proc import processes

#: Where the Python backend makes a folder at its start, whatever TMPDIR says. It stays empty unless a model has packages of its
#: own.
_ENVIRONMENTS = Path("/tmp")
#: By how much a folder must be older than a server, so that it is not this one's.
_APART_SECONDS = 1.0


def remove_shared_memory(prefix: str) -> None:
    """Removes the regions of servers that are not running any more."""
    for left in Path("/dev/shm").glob(f"{prefix}*"):
        left.unlink(missing_ok=True)


def remove_environments() -> None:
    """Removes the folders of the Python backend that are older than all servers. Nothing tells whose one is."""
    ages = {}
    for folder in _ENVIRONMENTS.glob("python_env_??????"):
        with contextlib.suppress(OSError):
            ages[folder] = time.time() - folder.stat().st_mtime
    # looked at after the folders: who made one of them, and is still there, is among these
    oldest = max((one.age for _, one in processes() if one.name == "tritonserver"), default=0.0)
    for folder, age in ages.items():
        if age > oldest + _APART_SECONDS:
            with contextlib.suppress(OSError):  # another user's, or not empty
                folder.rmdir()
