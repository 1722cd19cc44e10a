"""Adds exported entries to a repository in a folder, and changes their settings; see transaction.py."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.digests import digest_of_bytes
from ..core.frontend_settings import FrontendSettings, settings_bytes
from ..core.layout import FRONT, MANIFEST, served_version
from ..core.manifest import Manifest
from ..core.types import RepositoryEntry
from ..errors import RepositoryError
from .disk import errors_named
from .entry import frontend_files
from .folder import Folder
from .staged_entry import ModelFiles, StagedEntry
from .transaction import commit, plan, recover, taken_versions


def check_repository(repository: Path) -> None:
    """Checks that entries can be written, with a trial write, before minutes of work begin. Raises RepositoryError."""
    existing = repository
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise RepositoryError(f"the repository {repository} cannot be a folder: {existing} is a file")
    with errors_named(repository):
        tempfile.TemporaryFile(dir=existing).close()


def publish(staged_entries: Sequence[StagedEntry]) -> RepositoryEntry:
    """Writes the frontends of an entry as the next version of its name. Raises RepositoryError."""
    options, names = staged_entries[0].options, [staged.name for staged in staged_entries]
    store = Folder(options.repository)
    with store.locked():
        recover(store)
        version = 1 + max(taken_versions(store, names), default=0)
        models: list[ModelFiles] = []
        manifests = {}
        for staged in staged_entries:
            files, manifests[staged.name] = frontend_files(staged, version)
            models += files
        configs = {model.name: model.config for model in models}
        commit(store, plan(store, options.name, version, names, configs, models), models)
    return RepositoryEntry(version, tuple(options.repository / model.name for model in reversed(models)), manifests)


def change_settings(repository: Path, name: str, settings: FrontendSettings, manifest: Manifest) -> None:
    """Replaces the settings of a frontend's version, and its manifest with their new digest. Raises RepositoryError."""
    store, folder, content = Folder(repository), f"{name}/{manifest.version}", settings_bytes(settings)
    manifest = replace(manifest, files={**manifest.files, FRONT: digest_of_bytes(content)})
    with store.locked():
        recover(store)
        store.put(f"{folder}/{FRONT}", content)
        store.put(f"{folder}/{MANIFEST}", manifest.to_bytes())
        if served_version(repository, name) == manifest.version:
            store.link(name, manifest.version)
