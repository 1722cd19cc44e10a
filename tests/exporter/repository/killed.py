"""Publishes again and again, each time stopped one step later: `killed.py killed|failed SOURCE DEST WORKSPACE`.

Steps are the calls that change what is on a disk. One process is forked for each; it ends at its step by SIGKILL, or by the error
of a full disk there. Prints what is served afterwards, and what is after publishing again, one JSON a step.
"""

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import RepositoryError
from tests.exporter.repository.entries import served_sizes
from tests.support import snapshot

STEPS = ("rename", "replace", "link", "mkdir", "unlink", "rmdir")
#: The exit code of a publisher that did not do all of its steps.
STOPPED = 3


def stop_at(step: int, how: str) -> Callable[[], bool]:
    """Makes the step-th call of those above the last, or one that fails. Gives whether it came to that."""
    count = 0

    def wrap(original):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == step:
                if how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, wrap(getattr(os, name)))
    os.fsync = lambda file: None  # takes the most time, and only a power cut loses what was written
    return lambda: count >= step


def publish(source: Path, dest: Path, step: int, how: str) -> bool:
    """In a process of its own; whether it came to its end."""
    child = os.fork()
    if child == 0:
        stopped = stop_at(step, how)
        try:
            list(publish_entries(source, dest))
        except RepositoryError as error:
            os._exit(STOPPED if "the disk is full" in str(error) else 1)
        os._exit(STOPPED if step and stopped() else 0)  # some errors do not matter, such as those of clearing up
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.waitstatus_to_exitcode(status) in (-signal.SIGKILL, STOPPED), status
    return status == 0


def main(how: str, source: Path, before: Path, workspace: Path) -> None:
    stopped, step = True, 0
    while stopped:
        step += 1
        place = workspace / str(step)
        dest = place / "dest"
        place.mkdir()
        if before.exists():
            shutil.copytree(before, dest)
        stopped = not publish(source, dest, step, how)
        seen = {"stopped": stopped, "served": served_sizes(dest, interrupted=stopped), "files": snapshot(dest)}
        assert publish(source, dest, 0, how)
        left = [path.name for path in place.iterdir() if path.name != "dest"]
        left += [path.name for path in dest.iterdir() if path.name[0] in "._" and path.name != ".lock"]
        left += [str(path) for path in dest.rglob("*.new")]
        print(json.dumps({**seen, "again": served_sizes(dest), "left": left}))
        shutil.rmtree(place)


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
