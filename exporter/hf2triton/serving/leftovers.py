"""Removes what a killed tritonserver leaves. Uses only the standard library."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from .proc import processes

#: Where the Python backend makes a folder at its start, whatever TMPDIR says. It stays empty unless a model brings its own
#: packages.
_ENVIRONMENTS = Path("/tmp")
#: A folder this much older than a server is not the server's.
_APART_SECONDS = 1.0


def remove_shared_memory(prefix: str) -> None:
    """Removes the shared memory of servers that no longer run."""
    for left in Path("/dev/shm").glob(f"{prefix}*"):
        left.unlink(missing_ok=True)


def remove_environments() -> None:
    """Removes the Python backend's folders that are older than all servers; nothing says whose folder is whose."""
    ages = {}
    for folder in _ENVIRONMENTS.glob("python_env_??????"):
        with contextlib.suppress(OSError):
            ages[folder] = time.time() - folder.stat().st_mtime
    # processes are listed after the folders, so a running server that made one of them is among these
    oldest = max((one.age for _, one in processes() if one.name == "tritonserver"), default=0.0)
    for folder, age in ages.items():
        if age > oldest + _APART_SECONDS:
            with contextlib.suppress(OSError):  # another user's, or not empty
                folder.rmdir()
