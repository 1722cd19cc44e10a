"""Puts an entry into a repository so that no reader ever sees half of it.

Everything is written beside the repository first, on the same disk. A version appears by one rename; rewriting
config.pbtxt, atomically and last, switches to it. After a crash at any point the old version is the one that is
served; after an error what was moved is taken back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..artifacts import Entry
from ..errors import RepositoryError
from .draft import Draft, ModelFiles
from .entry import digest_of_bytes, front_files, json_bytes
from .layout import CONFIG, LINKED, MANIFEST, WARMUP, graph_model, served_version, versions

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a file would be too large",
}
#: Versions of NAME_model that are kept: the one that is served and the one before it.
KEPT_GRAPHS = 2
#: Where finished models wait in the staging folder.
_READY = "ready"


def check_repository(repository: Path) -> None:
    """Whether entries can be written, by writing: to be asked before minutes of work. Raises RepositoryError."""
    existing = repository
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise RepositoryError(f"the repository {repository} cannot be a folder: {existing} is a file")
    with _errors_named(repository):
        tempfile.TemporaryFile(dir=existing).close()


def publish(drafts: Sequence[Draft]) -> Entry:
    """Writes the fronts of an entry as the next version of its name. Raises RepositoryError."""
    repository = drafts[0].options.repository
    names = [draft.name for draft in drafts]
    with _errors_named(repository), ExitStack() as undo:
        if not repository.exists():
            repository.mkdir(parents=True, exist_ok=True)  # another publisher may be as quick
            undo.callback(_remove_if_empty, repository)
        with _locked(repository), _staging(repository) as staging:
            folders = [repository / name for front in names for name in (front, graph_model(front))]
            version = 1 + max([0, *(taken for folder in folders for taken in versions(folder))])
            models, manifests = [], {}
            for draft in drafts:
                files, manifests[draft.name] = front_files(draft, version, staging)
                models += files
            for model in models:
                _write(model, staging / _READY / model.name, version)
            for model in models:
                _move_in(model.name, staging / _READY, repository, version, undo)
            undo.pop_all()
            for name in names:
                _link_served(repository / name, version)
                _prune(repository / graph_model(name))
    return Entry(version, tuple(repository / model.name for model in reversed(models)), manifests)


def amend(repository: Path, name: str, version: int, file: str, content: Any, manifest: Mapping[str, Any]) -> None:
    """Replaces a JSON file of a front's version, and its manifest with the file's new digest. Raises RepositoryError."""
    folder = repository / name / str(version)
    data = json_bytes(content)
    manifest = {**manifest, "files": {**manifest["files"], file: digest_of_bytes(data)}}
    with _errors_named(repository), _locked(repository):
        _replace(folder / file, data)
        _replace(folder / MANIFEST, json_bytes(manifest))
        if served_version(repository, name) == version:
            _link_served(repository / name, version)


def _write(model: ModelFiles, folder: Path, version: int) -> None:
    """A model folder in full, flushed to the disk."""
    contents = {CONFIG: model.config.encode(), **model.shared}
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


def _move_in(name: str, staging: Path, repository: Path, version: int, undo: ExitStack) -> None:
    """Moves a staged model into the repository; `undo` takes it back."""
    staged, target = staging / name, repository / name
    if not target.exists():
        undo.callback(shutil.rmtree, target, ignore_errors=True)
        os.rename(staged, target)
        return
    undo.callback(shutil.rmtree, target / str(version), ignore_errors=True)
    os.rename(staged / str(version), target / str(version))
    if (staged / WARMUP).exists() and not (target / WARMUP).exists():
        undo.callback(shutil.rmtree, target / WARMUP, ignore_errors=True)
        os.rename(staged / WARMUP, target / WARMUP)
    for new in (staged / WARMUP).glob("*"):  # another version may be warmed up with other files than the first
        if not (target / WARMUP / new.name).exists():
            undo.callback((target / WARMUP / new.name).unlink, missing_ok=True)
            os.rename(new, target / WARMUP / new.name)
    undo.callback(_replace, target / CONFIG, (target / CONFIG).read_bytes())
    os.replace(staged / CONFIG, target / CONFIG)


def _link_served(folder: Path, version: int) -> None:
    """Shows the served version's manifest and baseline beside config.pbtxt."""
    for name in LINKED:
        new = folder / f".{name}.new"
        new.unlink(missing_ok=True)
        try:
            os.link(folder / str(version) / name, new)
        except OSError:  # a file system without hard links
            shutil.copyfile(folder / str(version) / name, new)
        os.replace(new, folder / name)


def _prune(folder: Path) -> None:
    for version in versions(folder)[:-KEPT_GRAPHS]:
        shutil.rmtree(folder / str(version))


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    os.replace(new, path)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """One publisher at a time; the lock goes with the process that holds it."""
    path = repository / ".lock"
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # whoever had it may have removed the file, and then others lock another one
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                yield
                return


@contextmanager
def _staging(repository: Path) -> Iterator[Path]:
    """A folder on the repository's disk: beside it, or inside where that is another disk or not writable.

    What publishers that were killed left there goes first (nobody else can be writing: the lock is held).
    """
    prefix = f".{repository.resolve().name}.staging-"
    beside = repository.resolve().parent
    places = [beside, repository] if os.stat(beside).st_dev == os.stat(repository).st_dev else [repository]
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


def _remove_if_empty(folder: Path) -> None:
    (folder / ".lock").unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def _errors_named(repository: Path) -> Iterator[None]:
    """Turns the system's errors into ours."""
    try:
        yield
    except OSError as error:
        what = _FULL.get(error.errno, error.strerror or str(error))
        raise RepositoryError(f"the repository {repository} cannot be written: {what} ({error.filename})") from error
