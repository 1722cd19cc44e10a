"""Determines what a build would do, and why: compares each entry of a file with the repository.

Loads nothing heavy: sources, options and packages are compared with the manifests, which record what an entry was made from.
The files on disk are compared with the manifests' digests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoint.adapters.source import Adapter, find_base, read_base_and_adapter
from ..checkpoint.sample_inputs import check_calibration
from ..checkpoint.source import peek_source
from ..checkpoint.task_inference import task_of
from ..core.layout import entries, frontend_name, versions
from ..core.manifest import Manifest, served_manifest
from ..core.options import ExportOptions
from ..core.packages import installed_versions
from ..core.source import Source
from ..engines.common.resolve import recorded_options, resolve
from ..errors import Hf2TritonError, NewerFormat, RepositoryError, UsageError
from ..repository.integrity import damages
from .file import Declared

NEW, CHANGED, DAMAGED, UNCHANGED = "new", "changed", "damaged", "unchanged"
#: The file is valid, but its source cannot be used.
IMPOSSIBLE = "cannot be built"
#: In the repository, but not in the file.
UNLISTED = "not in the file"


@dataclass(frozen=True)
class PlannedEntry:
    """One entry: its resolved options, the `frontends` that serve it, and what to do. `reasons`: why, as short phrases.

    `error`: why the entry cannot be built, if so; task and frontends may be unknown then.
    """

    name: str
    options: ExportOptions
    state: str
    reasons: tuple[str, ...] = ()
    task: str | None = None
    frontends: tuple[str, ...] = ()
    error: Hf2TritonError | None = None


@dataclass(frozen=True)
class BuildPlan:
    """What a build would do. `unlisted`: frontends in the repository that the file does not name; they are left unchanged."""

    declared: Declared
    entries: tuple[PlannedEntry, ...]
    unlisted: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the repository differs from what the file would build."""
        return bool(self.unlisted) or any(entry.state != UNCHANGED for entry in self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """State -> number of entries."""
        return dict(Counter([*(entry.state for entry in self.entries), *[UNLISTED] * len(self.unlisted)]))

    @property
    def pending(self) -> int:
        """The number of entries to build."""
        return sum(entry.state != UNCHANGED for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.declared.path),
            "repository": str(self.declared.repository),
            "entries": {
                entry.name: {"state": entry.state, "reasons": list(entry.reasons), "task": entry.task}
                for entry in self.entries
            },
            "unlisted": list(self.unlisted),
        }


def plan_build(declared: Declared, progress: Callable[[str], None] = lambda stage: None) -> BuildPlan:
    """Compares each entry with the repository. Raises UsageError for contradictions in the file, such as two entries with a
    frontend of the same name. If a source cannot be used, its entry holds the error."""
    planned, packages = [], installed_versions()
    for name, options in declared.entries.items():
        progress(f"{name}: compare with the repository")
        planned.append(_plan(name, options, packages))
    _check_frontends(planned)
    known = {frontend for entry in planned for frontend in entry.frontends}
    unknown = {entry.name for entry in planned if entry.error is not None}
    unlisted = [
        frontend
        for frontend in entries(declared.repository)
        if frontend not in known and _entry_of(declared.repository, frontend) not in unknown
    ]
    return BuildPlan(declared, tuple(planned), tuple(unlisted))


def _plan(name: str, options: ExportOptions, packages: Mapping[str, str | None]) -> PlannedEntry:
    try:
        base, adapter = read_base_and_adapter(options)
        source = find_base(base, adapter, options, peek_source)
        if source.revision is None:  # sources from the hub are identified by their commit
            source = find_base(base, adapter, options)
        task = task_of(source, options.task, adapter)
        options = resolve(options, task)
        check_calibration(options.calibration, task)
        asked = json.loads(json.dumps(recorded_options(options)))  # in the form that a manifest returns
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except Hf2TritonError as error:
        return PlannedEntry(name, options, IMPOSSIBLE, (str(error),), error=error)
    frontends = tuple(frontend_name(name, endpoint) for endpoint in task.endpoints)
    about = (name, options)
    if not any(versions(options.repository / frontend) for frontend in frontends):
        return PlannedEntry(*about, NEW, (), task.name, frontends)
    try:
        manifests = {frontend: served_manifest(options.repository, frontend) for frontend in frontends}
        damaged = [
            f"{frontend}: {one}"
            for frontend in frontends
            for one in damages(options.repository, frontend, manifests[frontend])
        ]
    except NewerFormat as error:
        return PlannedEntry(*about, IMPOSSIBLE, (str(error),), task.name, frontends, error)
    except (RepositoryError, OSError, KeyError) as error:
        return PlannedEntry(*about, DAMAGED, (str(error),), task.name, frontends)
    manifest = manifests[frontends[0]]
    changes = [
        *_changes(manifest, task.name, asked),
        *_files(manifest, source, adapter),
        *_packages(manifest, packages),
    ]
    if len({own.version for own in manifests.values()}) > 1:
        damaged.append("its frontends serve different versions")
    state = CHANGED if changes else DAMAGED if damaged else UNCHANGED
    return PlannedEntry(*about, state, (*changes, *damaged), task.name, frontends)


def _changes(manifest: Manifest, task: str, asked: Mapping[str, Any]) -> Iterator[str]:
    """How the requested options differ from those of the existing entry."""
    before = manifest.options
    if before is None:
        yield "made before manifests said what was asked"
        return
    for name, old, new in [
        ("task", manifest.task, task),
        *((name, before.get(name), new) for name, new in asked.items()),
    ]:
        if old != new:
            yield _change(name.replace("_", " "), old, new)


def _files(manifest: Manifest, source: Source, adapter: Adapter | None) -> Iterator[str]:
    """Which files of the source or the adapter have changed since the entry was made."""
    before = manifest.source
    if source.revision is not None:
        if source.revision != before.revision:
            yield _change("source: commit", before.revision, source.revision)
    else:
        yield from _differences("source", before.digests, source.digests)
    was = {} if manifest.adapter is None else manifest.adapter.digests
    now = {} if adapter is None else adapter.digests
    if bool(was) != bool(now):
        yield "adapter added" if now else "adapter removed"
    else:
        yield from _differences("adapter", was, now)


def _packages(manifest: Manifest, packages: Mapping[str, str | None]) -> Iterator[str]:
    before = manifest.packages
    for name in sorted({*before, *packages}):
        if before.get(name) != packages.get(name):
            yield _change(name, before.get(name), packages.get(name))


def _change(what: str, old: Any, new: Any) -> str:
    """A change in words: with both values if they are short, otherwise without."""
    if any(isinstance(value, list | dict) or str(value).startswith("sha256:") for value in (old, new)):
        return f"{what} changed"
    return f"{what} " + " → ".join("none" if value is None else str(value) for value in (old, new))


def _differences(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            how = "is new" if name not in before else "is gone" if name not in now else "differs"
            yield f"{what}: {name} {how}"


def _check_frontends(planned: list[PlannedEntry]) -> None:
    owners: dict[str, str] = {}
    for entry in planned:
        for frontend in entry.frontends:
            if frontend in owners:
                raise UsageError(
                    f"{owners[frontend]} and {entry.name} would both be served as {frontend}: rename one of them"
                )
            owners[frontend] = entry.name


def _entry_of(repository: Path, frontend: str) -> str:
    """The entry that a frontend was made for."""
    try:
        return served_manifest(repository, frontend).owner
    except RepositoryError:
        return frontend
