"""The versions of a repository's entries: lists them, rolls back to one, and removes old ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf2triton_client.evaluation.baseline import Baseline

from ..core.layout import BASELINE, BASELINE_JSON, CONFIG, MANIFEST, graph_model, is_candidate, no_repository
from ..core.manifest import Manifest, parse_manifest
from ..errors import RepositoryError, UsageError
from ..repository.integrity import version_damages
from ..repository.store import Store
from ..repository.transaction import plan, recover, remove_versions
from .install import Progress, install
from .live import Live
from .transfer import served_in


@dataclass(frozen=True)
class Version:
    """A version of a frontend. `lacking`: why it cannot be served, empty if it can."""

    frontend: str
    number: int
    served: bool
    manifest: Manifest
    lacking: str = ""


def versions_in(store: Store) -> list[Version]:
    """All versions of all frontends, newest first. Raises RepositoryError if there is no repository."""
    _require(store)
    frontends = [model for model in store.models() if not is_candidate(model) and served_in(store, model) is not None]
    return [version for frontend in frontends for version in _versions(store, frontend)]


def rollback(
    store: Store,
    name: str,
    number: int | None = None,
    live: Live | None = None,
    progress: Progress = lambda stage: None,
) -> tuple[int | None, int]:
    """Serves another version of an entry, by default the one before; all its frontends change together. Returns the version
    served before, and the one served now. Raises RepositoryError, also for a version that differs from what was written, and
    UsageError; with `live`, also the errors of `install`."""
    _require(store)
    with store.locked(progress):
        recover(store)
        known = _entry(store, name)
        frontends = tuple(known)
        usable = set.intersection(*({one.number for one in own if not one.lacking} for own in known.values()))
        served = served_in(store, frontends[0])
        if number is None:
            number = max((one for one in usable if served is not None and one < served), default=None)
            if number is None:
                raise RepositoryError(f"{store.place} has no version of {name!r} before {served}, which is served")
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
        for frontend in frontends:
            graph = graph_model(frontend)
            if number in store.versions(graph):
                configs[graph] = _config(store, f"{graph}/{number}/{CONFIG}", f"{graph}/{CONFIG}")
        configs |= {frontend: _config(store, f"{frontend}/{number}/{CONFIG}") for frontend in frontends}
        running = None if live is None else live.version_of(frontends[0])
        transaction = plan(store, name, number, frontends, configs, running=running)
        baselines = {frontend: _baseline(store, frontend, number) for frontend in frontends} if live is not None else {}
        install(store, transaction, (), live, baselines, progress)
    return served, number


def _config(store: Store, *places: str) -> str:
    """The content of the first of `places` that exists. Raises RepositoryError."""
    for place in places:
        if (content := store.read(place)) is not None:
            return content.decode()
    raise RepositoryError(f"{store.place} has no {places[0]}")


def prune(
    store: Store, names: Sequence[str], keep: int, progress: Progress = lambda stage: None
) -> dict[str, tuple[int, ...]]:
    """Removes all but the newest `keep` versions of some entries, or of all, and never the served version. Returns what was
    removed of each frontend. Raises RepositoryError and UsageError."""
    if keep < 1:
        raise UsageError(f"--keep is {keep}: at least 1 version is kept")
    _require(store)
    removed, paths = {}, []
    with store.locked(progress):
        recover(store)
        frontends = dict.fromkeys(frontend for name in names for frontend in _entry(store, name))
        for frontend in frontends or dict.fromkeys(version.frontend for version in versions_in(store)):
            known, graph = _versions(store, frontend), graph_model(frontend)
            gone = [one.number for index, one in enumerate(known) if index >= keep and not one.served]
            graphs = store.versions(graph)
            for number in gone:
                # the frontend first: without it, nothing calls the graph
                paths += [f"{frontend}/{number}", *([f"{graph}/{number}"] if number in graphs else [])]
            removed[frontend] = tuple(sorted(gone))
        if paths:
            remove_versions(store, paths, progress)
    return removed


def _require(store: Store) -> None:
    if not store.models():
        raise no_repository(store.place)


def _check(store: Store, name: str, version: Version) -> None:
    """Raises RepositoryError for a version that differs from what was written."""
    found = list(version_damages(store, version.frontend, version.manifest))
    if found:
        more = f" (and {len(found) - 1} more files)" if len(found) > 1 else ""
        raise RepositoryError(
            f"version {version.number} of {name!r} in {store.place} is not what was published: {found[0]}{more}; publish it"
            " again from where it is whole, or name another version (hf2triton list --versions)"
        )


def _versions(store: Store, frontend: str) -> list[Version]:
    """The complete versions of a frontend, newest first."""
    served = served_in(store, frontend)
    found = []
    for number in reversed(store.versions(frontend)):
        content = store.read(f"{frontend}/{number}/{MANIFEST}")
        if content is None:
            continue  # an unfinished copy of a killed publisher
        manifest = parse_manifest(content, f"{store.place}/{frontend}/{number}/{MANIFEST}")
        lacking = ""
        if manifest.has_graph_model and number not in store.versions(graph_model(frontend)):
            lacking = f"its graph is gone from {graph_model(frontend)}"
        found.append(Version(frontend, number, number == served, manifest, lacking))
    return found


def _entry(store: Store, name: str) -> dict[str, list[Version]]:
    """Frontend of an entry -> its versions. `name`: of the entry or of one of its frontends. Raises RepositoryError."""
    known: dict[str, list[Version]] = {}
    for version in versions_in(store):
        known.setdefault(version.frontend, []).append(version)
    owners = {frontend: own[0].manifest.owner for frontend, own in known.items()}
    wanted = owners.get(name, name)
    found = {frontend: own for frontend, own in known.items() if owners[frontend] == wanted}
    if not found:
        names = ", ".join(dict.fromkeys(owners.values())) or "none"
        raise RepositoryError(f"{store.place} has no entry {name!r} (known: {names})")
    return found


def _baseline(store: Store, frontend: str, number: int) -> Baseline:
    """PyTorch's recorded answers for a version in a store."""
    with tempfile.TemporaryDirectory(prefix="hf2triton-") as folder:
        for file in (BASELINE, BASELINE_JSON):
            (Path(folder) / file).write_bytes(store.read(f"{frontend}/{number}/{file}") or b"")
        return Baseline.load(Path(folder) / BASELINE)
