"""What a build would do, and why: each entry of a file compared with what the repository holds.

Nothing heavy is loaded: sources, options and packages are compared with the manifests that say what an entry was made of,
and the files on disk with the manifests' digests.
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
from ..core.layout import entries, front_name, served_manifest, versions
from ..core.options import ExportOptions
from ..core.packages import installed_versions
from ..core.resolve import recorded_options, settle
from ..core.source import Source
from ..errors import Hf2TritonError, RepositoryError, UsageError
from ..repository.integrity import damages
from .file import Declared

NEW, CHANGED, DAMAGED, UNCHANGED = "new", "changed", "damaged", "unchanged"
#: The file is right, but its source cannot be used.
IMPOSSIBLE = "cannot be built"
#: In the repository, and not in the file.
UNLISTED = "not in the file"


@dataclass(frozen=True)
class PlannedEntry:
    """One entry: its settled options, the `fronts` that serve it, and what is to be done. `reasons`: why, a phrase each.

    `error`: what stands in the way, where it cannot be built; task and fronts are not known then.
    """

    name: str
    options: ExportOptions
    state: str
    reasons: tuple[str, ...] = ()
    task: str | None = None
    fronts: tuple[str, ...] = ()
    error: Hf2TritonError | None = None


@dataclass(frozen=True)
class Plan:
    """What a build would do. `unlisted`: fronts in the repository that the file does not name, which are left alone."""

    declared: Declared
    entries: tuple[PlannedEntry, ...]
    unlisted: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the repository is not what the file would build."""
        return bool(self.unlisted) or any(entry.state != UNCHANGED for entry in self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """State -> how many."""
        return dict(Counter([*(entry.state for entry in self.entries), *[UNLISTED] * len(self.unlisted)]))

    @property
    def pending(self) -> int:
        """How many entries there is something to do for."""
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


def plan_build(declared: Declared, progress: Callable[[str], None] = lambda stage: None) -> Plan:
    """Compares each entry with the repository. Raises UsageError for what the file cannot mean, such as two entries with a
    front of the same name; a source that cannot be used is told in its entry."""
    planned, packages = [], installed_versions()
    for name, options in declared.entries.items():
        progress(f"{name}: compare with the repository")
        planned.append(_plan(name, options, packages))
    _check_fronts(planned)
    known = {front for entry in planned for front in entry.fronts}
    unknown = {entry.name for entry in planned if entry.error is not None}
    unlisted = [
        front
        for front in entries(declared.repository)
        if front not in known and _entry_of(declared.repository, front) not in unknown
    ]
    return Plan(declared, tuple(planned), tuple(unlisted))


def _plan(name: str, options: ExportOptions, packages: Mapping[str, str | None]) -> PlannedEntry:
    try:
        base, adapter = read_base_and_adapter(options)
        source = find_base(base, adapter, options, peek_source)
        if source.revision is None:  # what the hub has is told by its commit
            source = find_base(base, adapter, options)
        task = task_of(source, options.task, adapter)
        options = settle(options, task)
        check_calibration(options.calibration, task)
        asked = json.loads(json.dumps(recorded_options(options)))  # as a manifest gives it back
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except Hf2TritonError as error:
        return PlannedEntry(name, options, IMPOSSIBLE, (str(error),), error=error)
    fronts = tuple(front_name(name, part) for part in task.parts)
    about = (name, options)
    if not any(versions(options.repository / front) for front in fronts):
        return PlannedEntry(*about, NEW, (), task.name, fronts)
    try:
        manifests = {front: served_manifest(options.repository, front) for front in fronts}
        damaged = [
            f"{front}: {one}" for front in fronts for one in damages(options.repository, front, manifests[front])
        ]
    except (RepositoryError, OSError, ValueError, KeyError, TypeError) as error:
        return PlannedEntry(*about, DAMAGED, (str(error),), task.name, fronts)
    manifest = manifests[fronts[0]]
    changes = [
        *_changes(manifest, task.name, asked),
        *_files(manifest, source, adapter),
        *_packages(manifest, packages),
    ]
    if len({own["version"] for own in manifests.values()}) > 1:
        damaged.append("its fronts serve different versions")
    state = CHANGED if changes else DAMAGED if damaged else UNCHANGED
    return PlannedEntry(*about, state, (*changes, *damaged), task.name, fronts)


def _changes(manifest: Mapping[str, Any], task: str, asked: Mapping[str, Any]) -> Iterator[str]:
    """What is asked otherwise than it was."""
    before = manifest.get("options")
    if before is None:
        yield "made before manifests said what was asked"
        return
    for name, old, new in [
        ("task", manifest["task"], task),
        *((name, before.get(name), new) for name, new in asked.items()),
    ]:
        if old != new:
            yield _change(name.replace("_", " "), old, new)


def _files(manifest: Mapping[str, Any], source: Source, adapter: Adapter | None) -> Iterator[str]:
    """Which files the source or the adapter has otherwise than when the entry was made."""
    before = manifest["source"]
    if source.revision is not None:
        if source.revision != before["revision"]:
            yield _change("source: commit", before["revision"], source.revision)
    else:
        yield from _differences("source", before["digests"], source.digests)
    was = (manifest["adapter"] or {}).get("digests", {})
    now = {} if adapter is None else adapter.digests
    if bool(was) != bool(now):
        yield "adapter added" if now else "adapter removed"
    else:
        yield from _differences("adapter", was, now)


def _packages(manifest: Mapping[str, Any], packages: Mapping[str, str | None]) -> Iterator[str]:
    before = manifest["packages"]
    for name in sorted({*before, *packages}):
        if before.get(name) != packages.get(name):
            yield _change(name, before.get(name), packages.get(name))


def _change(what: str, old: Any, new: Any) -> str:
    """A change in words: of short values with both, of others without."""
    if any(isinstance(value, list | dict) or str(value).startswith("sha256:") for value in (old, new)):
        return f"{what} changed"
    return f"{what} " + " → ".join("none" if value is None else str(value) for value in (old, new))


def _differences(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            how = "is new" if name not in before else "is gone" if name not in now else "differs"
            yield f"{what}: {name} {how}"


def _check_fronts(planned: list[PlannedEntry]) -> None:
    owners: dict[str, str] = {}
    for entry in planned:
        for front in entry.fronts:
            if front in owners:
                raise UsageError(
                    f"{owners[front]} and {entry.name} would both be served as {front}: rename one of them"
                )
            owners[front] = entry.name


def _entry_of(repository: Path, front: str) -> str:
    """The entry that a front was made for."""
    try:
        return served_manifest(repository, front).get("entry", front)
    except RepositoryError:
        return front
