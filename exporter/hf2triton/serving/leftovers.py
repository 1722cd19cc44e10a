"""Removes what a killed tritonserver leaves. Uses only the standard library."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from .proc import processes

#: Where the Python backend makes a folder when it starts, whatever TMPDIR says. It stays empty unless a model brings its own
#: packages.
_ENVIRONMENTS = Path("/tmp")
#: A folder this much older than a server is not the server's.
_APART_SECONDS = 1.0


def remove_shared_memory(prefix: str) -> None:
    """Removes the shared memory of servers that no longer run."""
    for left in Path("/dev/shm").glob(f"{prefix}*"):
        left.unlink(missing_ok=True)


def remove_environments() -> None:
    """Removes the Python backend's folders that are older than all servers; nothing tells which server a folder belongs to."""
    ages = {}
    for folder in _ENVIRONMENTS.glob("python_env_??????"):
        with contextlib.suppress(OSError):
            ages[folder] = time.time() - folder.stat().st_mtime
    # processes are listed after the folders, so a running server that made any of the folders is listed
    oldest = max((one.age for _, one in processes() if one.name == "tritonserver"), default=0.0)
    for folder, age in ages.items():
        if age > oldest + _APART_SECONDS:
            with contextlib.suppress(OSError):  # it belongs to another user, or is not empty
                folder.rmdir()
