"""Writes to a repository on disk: a folder appears or disappears with one rename, a file changes with one replacement."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hf2triton_client.errors import ClientError

from ..core.layout import CONFIG, LINKED
from ..errors import RepositoryError
from .staged_entry import ModelFiles

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a file would be too large",
}
#: The place of finished models in the staging folder.
READY = "ready"


def write_model(model: ModelFiles, folder: Path, version: int) -> None:
    """Writes a complete model folder and flushes it to disk."""
    contents: dict[str, bytes | Path] = {CONFIG: model.config.encode(), **model.shared}
    contents |= {f"{version}/{path}": content for path, content in model.versioned.items()}
    for path, content in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, target)
        else:
            target.write_bytes(content)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def link_served(folder: Path, version: int) -> None:
    """Links the served version's manifest and baseline beside config.pbtxt."""
    for name in LINKED:
        own, shown, new = folder / str(version) / name, folder / name, folder / f".{name}.new"
        new.unlink(missing_ok=True)
        if shown.exists() and shown.samefile(own):
            continue  # replacing ignores two names of one file, which would leave the new name
        with _removed_on_error(new):
            try:
                os.link(own, new)
            except OSError:  # a file system without hard links
                shutil.copyfile(own, new)
            new.replace(shown)


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file: readers see the old content or the new one, even after a power failure."""
    new = path.with_name(f".{path.name}.new")
    with _removed_on_error(new):
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def locked(repository: Path, waiting: Callable[[str], None] = lambda what: None) -> Iterator[None]:
    """Admits one publisher at a time; the lock ends with the process that holds it."""
    path = repository / ".lock"
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting(f"wait for another publisher to {repository}")
                fcntl.flock(file, fcntl.LOCK_EX)
            # the previous holder may have removed the file; other publishers then lock a new one
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                yield
                return


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder on the repository's disk: beside the repository, or inside it if the place beside it is on another disk or not
    writable.

    First removes what killed publishers left there (the lock is held, so no other publisher is writing).
    """
    prefix = f".{repository.resolve().name}.staging-"
    beside = repository.resolve().parent
    places = [beside, repository] if beside.stat().st_dev == repository.stat().st_dev else [repository]
    for place in places:
        for left in place.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
    for place in places:
        with suppress(PermissionError):
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
            break
    else:
        raise RepositoryError(f"neither {places[0]} nor {repository} can be written to")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_if_empty(folder: Path) -> None:
    """Removes a repository folder that was just made, if it is still empty."""
    (folder / ".lock").unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def errors_named(repository: Path) -> Iterator[None]:
    """Turns system errors into ours."""
    try:
        yield
    except ClientError:  # some client errors are also system errors, and say more
        raise
    except OSError as error:
        what = _FULL.get(error.errno or 0, error.strerror or str(error))
        raise RepositoryError(f"the repository {repository} cannot be written: {what} ({error.filename})") from error
