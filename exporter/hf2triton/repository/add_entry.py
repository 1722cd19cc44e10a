"""Puts an entry into a repository so that no reader ever sees half of it.

Everything is written beside the repository first, on the same disk. A version appears by one rename; rewriting
config.pbtxt, atomically and last, switches to it. After a crash at any point the old version is the one that is
served; after an error what was moved is taken back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..core.digests import digest_of_bytes
from ..core.frontend_settings import FrontendSettings, settings_bytes
from ..core.layout import CONFIG, FRONT, MANIFEST, WARMUP, graph_model, served_version, versions
from ..core.manifest import Manifest
from ..core.types import RepositoryEntry
from ..errors import RepositoryError
from .disk import READY, errors_named, link_served, locked, remove_if_empty, replace_file, staging, write_model
from .entry import frontend_files
from .folder import Folder
from .staged_entry import StagedEntry
from .transaction import make_room, recover

#: Versions of NAME_model that are kept: the one that is served and the one before it.
KEPT_GRAPHS = 2


def check_repository(repository: Path) -> None:
    """Whether entries can be written, by writing: to be asked before minutes of work. Raises RepositoryError."""
    existing = repository
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise RepositoryError(f"the repository {repository} cannot be a folder: {existing} is a file")
    with errors_named(repository):
        tempfile.TemporaryFile(dir=existing).close()


def publish(staged_entries: Sequence[StagedEntry]) -> RepositoryEntry:
    """Writes the frontends of an entry as the next version of its name. Raises RepositoryError."""
    repository = staged_entries[0].options.repository
    names = [staged.name for staged in staged_entries]
    with errors_named(repository), ExitStack() as undo:
        if not repository.exists():
            repository.mkdir(parents=True, exist_ok=True)  # another publisher may be as quick
            undo.callback(remove_if_empty, repository)
        with locked(repository), staging(repository) as area:
            store = Folder(repository, area)
            recover(store)
            make_room(store, names)
            folders = [repository / name for frontend in names for name in (frontend, graph_model(frontend))]
            version = 1 + max([0, *(taken for folder in folders for taken in versions(folder))])
            models, manifests = [], {}
            for staged in staged_entries:
                files, manifests[staged.name] = frontend_files(staged, version, area)
                models += files
            for model in models:
                write_model(model, area / READY / model.name, version)
            for model in models:
                _move_in(model.name, area / READY, repository, version, undo)
            undo.pop_all()
            for name in names:
                link_served(repository / name, version)
                _prune(repository / graph_model(name))
    return RepositoryEntry(version, tuple(repository / model.name for model in reversed(models)), manifests)


def change_settings(repository: Path, name: str, settings: FrontendSettings, manifest: Manifest) -> None:
    """Replaces the settings of a frontend's version, and its manifest with their new digest. Raises RepositoryError."""
    folder, content = repository / name / str(manifest.version), settings_bytes(settings)
    manifest = replace(manifest, files={**manifest.files, FRONT: digest_of_bytes(content)})
    with errors_named(repository), locked(repository):
        replace_file(folder / FRONT, content)
        replace_file(folder / MANIFEST, manifest.to_bytes())
        if served_version(repository, name) == manifest.version:
            link_served(repository / name, manifest.version)


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
    undo.callback(replace_file, target / CONFIG, (target / CONFIG).read_bytes())
    os.replace(staged / CONFIG, target / CONFIG)


def _prune(folder: Path) -> None:
    for version in versions(folder)[:-KEPT_GRAPHS]:
        shutil.rmtree(folder / str(version))
