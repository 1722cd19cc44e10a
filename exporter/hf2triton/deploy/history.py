"""The versions that a repository has of its entries: which there are, going back to one, and removing old ones."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf2triton_client.evaluation.baseline import Baseline

from ..core.layout import BASELINE, BASELINE_JSON, CONFIG, MANIFEST, graph_model, is_candidate, no_repository
from ..errors import RepositoryError, UsageError
from ..repository.integrity import version_damages
from ..repository.store import Store
from ..repository.transaction import plan_switch, recover
from .install import Progress, install
from .live import Live
from .transfer import served_in


@dataclass(frozen=True)
class Version:
    """A version of a front. `lacking`: why it cannot be served, empty if it can."""

    front: str
    number: int
    served: bool
    manifest: Mapping[str, Any]
    lacking: str = ""


def versions_in(store: Store) -> list[Version]:
    """All versions of all fronts, the newest first. Raises RepositoryError where there is no repository."""
    _require(store)
    fronts = [model for model in store.models() if not is_candidate(model) and served_in(store, model) is not None]
    return [version for front in fronts for version in _versions(store, front)]


def rollback(
    store: Store,
    name: str,
    number: int | None = None,
    live: Live | None = None,
    progress: Progress = lambda stage: None,
) -> tuple[int, int]:
    """Serves another version of an entry, by default the one before; its fronts go together. Gives the version that was served,
    and the one that is. Raises RepositoryError, also for a version that is not what was written, and UsageError; with `live`,
    what `install` raises."""
    _require(store)
    with store.locked(progress):
        recover(store)
        known = _entry(store, name)
        fronts = tuple(known)
        usable = set.intersection(*({one.number for one in own if not one.lacking} for own in known.values()))
        served = served_in(store, fronts[0])
        if number is None:
            older = [one for one in usable if one < served]
            if not older:
                raise RepositoryError(f"{store.place} has no version of {name!r} before {served}, which is served")
            number = max(older)
        if number not in usable:
            reasons = [f" ({one.lacking})" for own in known.values() for one in own if one.number == number]
            others = ", ".join(map(str, sorted(usable)))
            raise UsageError(
                f"version {number} of {name!r} cannot be served{''.join(reasons[:1])}; these can: {others}"
            )
        progress(f"{name}: compare version {number} with its manifests")
        for own in known.values():
            _check(store, name, next(one for one in own if one.number == number))
        configs = {}
        for front in fronts:
            graph = graph_model(front)
            if number in store.versions(graph):
                kept = store.read(f"{graph}/{number}/{CONFIG}") or store.read(f"{graph}/{CONFIG}")
                configs[graph] = kept.decode()
        configs |= {front: store.read(f"{front}/{number}/{CONFIG}").decode() for front in fronts}
        running = None if live is None else live.version_of(fronts[0])
        switch = plan_switch(store, name, number, fronts, configs, added=False, running=running)
        baselines = {front: _baseline(store, front, number) for front in fronts} if live is not None else {}
        install(store, switch, None, live, baselines, progress)
    return served, number


def prune(
    store: Store, names: Sequence[str], keep: int, progress: Progress = lambda stage: None
) -> dict[str, tuple[int, ...]]:
    """Removes all but the newest `keep` versions of some entries, or of all, and never the served one. Gives what was removed, of
    each front. Raises RepositoryError and UsageError."""
    if keep < 1:
        raise UsageError(f"--keep is {keep}: at least 1 version is kept")
    _require(store)
    removed = {}
    with store.locked(progress):
        recover(store)
        fronts = dict.fromkeys(front for name in names for front in _entry(store, name))
        for front in fronts or dict.fromkeys(version.front for version in versions_in(store)):
            known = _versions(store, front)
            gone = [one.number for index, one in enumerate(known) if index >= keep and not one.served]
            for number in gone:
                store.hold()
                progress(f"remove version {number} of {front}")
                # the front first: without it nobody calls the graph
                store.remove(f"{front}/{number}")
                store.remove(f"{graph_model(front)}/{number}")
            removed[front] = tuple(sorted(gone))
    return removed


def _require(store: Store) -> None:
    if not store.models():
        raise no_repository(store.place)


def _check(store: Store, name: str, version: Version) -> None:
    """Raises RepositoryError for a version that is not what was written."""
    found = list(version_damages(store, version.front, version.manifest))
    if found:
        more = f" (and {len(found) - 1} more files)" if len(found) > 1 else ""
        raise RepositoryError(
            f"version {version.number} of {name!r} in {store.place} is not what was published: {found[0]}{more}; publish it"
            " again from where it is whole, or name another version (hf2triton list --versions)"
        )


def _versions(store: Store, front: str) -> list[Version]:
    """The versions of a front that are whole, the newest first."""
    served = served_in(store, front)
    found = []
    for number in reversed(store.versions(front)):
        content = store.read(f"{front}/{number}/{MANIFEST}")
        if content is None:
            continue  # what a publisher that was killed had copied so far
        manifest = json.loads(content)
        lacking = ""
        if manifest["serving"]["runner"] == "bls" and number not in store.versions(graph_model(front)):
            lacking = f"its graph is gone from {graph_model(front)}"
        found.append(Version(front, number, number == served, manifest, lacking))
    return found


def _entry(store: Store, name: str) -> dict[str, list[Version]]:
    """The fronts of an entry, which is named by itself or by one of them -> their versions. Raises RepositoryError."""
    known: dict[str, list[Version]] = {}
    for version in versions_in(store):
        known.setdefault(version.front, []).append(version)
    owners = {front: own[0].manifest.get("entry", front) for front, own in known.items()}
    wanted = owners.get(name, name)
    found = {front: own for front, own in known.items() if owners[front] == wanted}
    if not found:
        names = ", ".join(dict.fromkeys(owners.values())) or "none"
        raise RepositoryError(f"{store.place} has no entry {name!r} (known: {names})")
    return found


def _baseline(store: Store, front: str, number: int) -> Baseline:
    """PyTorch's recorded answers, of a version in a store."""
    with tempfile.TemporaryDirectory(prefix="hf2triton-") as folder:
        for file in (BASELINE, BASELINE_JSON):
            (Path(folder) / file).write_bytes(store.read(f"{front}/{number}/{file}") or b"")
        return Baseline.load(Path(folder) / BASELINE)
