"""A mount namespace with small file systems of its own: what fills its /dev/shm or its log's disk fills nobody else's."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

#: As a container has it unless told otherwise, and little enough to be filled.
SHM, LOG = "64m", "2m"


class Namespace:
    """`log_folder`: where the small file system for logs is mounted. `private`: False where the machine does not permit it; then
    commands run as usual, and the faults that fill a disk are left out."""

    def __init__(self, log_folder: Path) -> None:
        log_folder.mkdir(parents=True)
        self._log_folder = log_folder
        mounts = f"mount -t tmpfs -o size={SHM} shm /dev/shm && mount -t tmpfs -o size={LOG} log {log_folder}"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mounts} && echo ready && exec sleep inf"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.private = self._holder.stdout.readline() == "ready\n"
        if not self.private:
            self.close()

    def command(self, command: Sequence[str]) -> list[str]:
        """What runs a command inside."""
        return ["nsenter", f"--target={self._holder.pid}", "--mount", "--", *command] if self.private else list(command)

    def path(self, path: str | Path) -> Path:
        """Where a file inside is found from outside."""
        return Path(f"/proc/{self._holder.pid}/root{path}") if self.private else Path(path)

    @property
    def shared_memory(self) -> Path:
        return self.path("/dev/shm")

    @property
    def logs(self) -> Path:
        return self.path(self._log_folder)

    def close(self) -> None:
        """Ends it: what was on its file systems is gone once no process is left inside."""
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()


def fill(folder: Path, leave: int = 0) -> Path:
    """Fills the file system of a folder but for `leave` bytes; the file that does is to be removed."""
    import os

    target = folder / "hf2triton-chaos-fill"
    statistics = os.statvfs(folder)
    size = statistics.f_bavail * statistics.f_frsize - leave
    with target.open("wb") as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
    return target
