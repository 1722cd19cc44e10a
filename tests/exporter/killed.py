"""Changes a repository again and again, each time stopped one step later: `killed.py HOW WHAT SOURCE DEST WORKSPACE`.

HOW: killed or failed; WHAT: one of OPERATIONS. Steps are the calls that change what is on a disk. One process is forked for
each; it ends at its step by SIGKILL, or by the error of a full disk there. Prints what is served afterwards, and what is after
doing the same again, one JSON a step.
"""

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))

from hf2triton.core.layout import MANIFEST, entries, graph_model
from hf2triton.core.manifest import served_manifest
from hf2triton.deploy.copies import copy_of, read_original
from hf2triton.deploy.history import prune, rollback
from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import RepositoryError
from hf2triton.repository import add_entry
from hf2triton.repository.folder import Folder
from tests.exporter.entries import served_sizes
from tests.support import snapshot

STEPS = ("rename", "replace", "link", "mkdir", "unlink", "rmdir")
#: The exit code of a process that did not do all of its steps.
STOPPED = 3


def export(source: Path, dest: Path) -> None:
    """Writes what the source serves, as if it had just been exported."""
    frontends = entries(source)
    entry = served_manifest(source, frontends[0]).owner
    original = read_original(source, entry, frontends)

    def frontend_files(staged, version):
        models = {model.name: model for model in copy_of(original, version).models}
        own = [models[name] for name in (graph_model(staged.name), staged.name) if name in models]
        return own, own[-1].versioned[MANIFEST]

    add_entry.frontend_files = frontend_files
    options = SimpleNamespace(repository=dest, name=entry)
    add_entry.publish([SimpleNamespace(options=options, name=frontend) for frontend in frontends])


OPERATIONS: Mapping[str, Callable[[Path, Path], object]] = {
    "export": export,
    "publish": lambda source, dest: list(publish_entries(source, dest)),
    "rollback": lambda source, dest: rollback(Folder(dest), entries(dest)[0], 1),
    "prune": lambda source, dest: prune(Folder(dest), [], 1),
}


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


def run(what: str, source: Path, dest: Path, step: int, how: str) -> bool:
    """In a process of its own; whether it came to its end."""
    child = os.fork()
    if child == 0:
        stopped = stop_at(step, how)
        try:
            OPERATIONS[what](source, dest)
        except RepositoryError as error:
            os._exit(STOPPED if "the disk is full" in str(error) else 1)
        os._exit(STOPPED if step and stopped() else 0)  # some errors do not matter, such as those of clearing up
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.waitstatus_to_exitcode(status) in (-signal.SIGKILL, STOPPED), status
    return status == 0


def main(how: str, what: str, source: Path, before: Path, workspace: Path) -> None:
    stopped, step = True, 0
    while stopped:
        step += 1
        place = workspace / str(step)
        dest = place / "dest"
        place.mkdir()
        if before.exists():
            shutil.copytree(before, dest)
        stopped = not run(what, source, dest, step, how)
        seen = {"stopped": stopped, "served": served_sizes(dest, interrupted=stopped), "files": snapshot(dest)}
        if stopped:
            assert run(what, source, dest, 0, how)
        left = [path.name for path in place.iterdir() if path.name != "dest"]
        left += [path.name for path in dest.iterdir() if path.name[0] in "._" and path.name != ".lock"]
        left += [str(path) for path in dest.rglob("*.new")]
        print(json.dumps({**seen, "again": served_sizes(dest), "files_again": snapshot(dest), "left": left}))
        shutil.rmtree(place)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(Path, sys.argv[3:]))
