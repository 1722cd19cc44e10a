"""Publishes entries of one repository in another, a folder or an object store. The published version becomes the served one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hf2triton_client.evaluation.baseline import Baseline

from ..core.layout import CONFIG, MANIFEST, candidate, entries, frontends_of, graph_model, version_in
from ..core.manifest import served_manifest
from ..errors import RepositoryError, UsageError
from ..repository.folder import Folder
from ..repository.store import Store
from ..repository.stores import open_store
from ..repository.transaction import plan, recover, taken_versions
from .copies import Original, copy_of, is_in, is_shown, put_shared, read_original
from .install import Progress, give_up, install, try_out
from .live import Live

#: The possible results for an entry.
PUBLISHED, SWITCHED, UNCHANGED = "published", "switched", "unchanged"


@dataclass(frozen=True)
class Published:
    """An entry after it was published. `before`: the version served before, None if the entry is new. `state`: PUBLISHED,
    SWITCHED to a version that was already there (`before` is the same version if only its config was missing), or UNCHANGED."""

    entry: str
    frontends: tuple[str, ...]
    version: int
    before: int | None
    state: str


def publish_entries(
    repository: Path,
    place: str | Path,
    names: Sequence[str] = (),
    live: Live | None = None,
    progress: Progress = lambda stage: None,
) -> Iterator[Published]:
    """Publishes the served version of some entries, or of all. With `live`, a server that serves `place`, each version is tried
    there before the switch to it.

    A version keeps its number if that is higher than all existing ones. Raises RepositoryError, ParityError, ServingError and the
    client's errors; the version before is then still served.
    """
    store = open_store(place)
    if isinstance(store, Folder) and store.root.resolve() == repository.resolve():
        raise UsageError(f"{place} is the repository itself: entries are published to another one")
    for entry, frontends in _chosen(repository, names).items():
        progress(f"{entry}: compare with the manifests of {repository}")
        original = read_original(repository, entry, frontends)
        with store.locked(progress):
            done = _publish(store, original, live, partial(_of_entry, progress, entry))
        yield done


def _chosen(repository: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Entry -> its frontends. Raises RepositoryError for an unknown name."""
    frontends = [frontend for name in names for frontend in frontends_of(repository, name)] or entries(repository)
    if not frontends:
        raise RepositoryError(f"{repository} holds no entries; hf2triton export puts one there")
    found = dict.fromkeys(served_manifest(repository, frontend).owner for frontend in frontends)
    return {entry: frontends_of(repository, entry) for entry in found}


def _publish(store: Store, original: Original, live: Live | None, progress: Progress) -> Published:
    """Publishes one entry under the lock."""
    recover(store)
    frontends = tuple(original.manifests)
    _tidy(store, frontends)
    taken = taken_versions(store, frontends)
    copies = (copy_of(original, version) for version in sorted(taken, reverse=True))
    found = next((copy for copy in copies if is_in(store, copy)), None)
    copy = found or copy_of(original, max(original.version, 1 + max(taken, default=0)))
    configs = {model.name: model.config for model in copy.models}
    versions = set() if live is None else {live.version_of(frontend) for frontend in frontends}
    running = next((one for one in versions if one != copy.version), copy.version)
    models = copy.models if found is None else ()
    transaction = plan(store, original.entry, copy.version, frontends, configs, models, running)
    baselines = (
        {} if live is None else {frontend: _baseline(original, frontend, copy.version) for frontend in frontends}
    )
    if live is not None and running != copy.version:
        give_up(live, [candidate(name) for name in configs if live.has(candidate(name))])
        try_out(store, original, copy.version, live, baselines, progress)
    if running == copy.version and found is not None and is_shown(store, copy):
        if live is not None:
            for frontend, baseline in baselines.items():
                progress(f"ask {frontend}, version {copy.version}, which is served")
                live.ask(frontend, baseline)
        return Published(original.entry, frontends, copy.version, copy.version, UNCHANGED)
    if found is not None:
        put_shared(store, copy)
    install(store, transaction, models, live, baselines, progress)
    state = PUBLISHED if found is None else SWITCHED
    return Published(original.entry, frontends, copy.version, transaction.served_before, state)


def served_in(store: Store, frontend: str) -> int | None:
    """The version of a frontend that a store's config names; None if the store does not have the frontend."""
    config = store.read(f"{frontend}/{CONFIG}")
    return None if config is None else version_in(config.decode(errors="replace"))


def _tidy(store: Store, frontends: Sequence[str]) -> None:
    """Removes versions that are not complete in all frontends: the unfinished copies of a killed publisher."""
    served = {served_in(store, frontend) for frontend in frontends}
    models = [model for frontend in frontends for model in (graph_model(frontend), frontend)]
    for version in {one for model in models for one in store.versions(model)} - served:
        if any(store.read(f"{frontend}/{version}/{MANIFEST}") is None for frontend in frontends):
            for model in models:
                store.remove(f"{model}/{version}")


def _baseline(original: Original, frontend: str, version: int) -> Baseline:
    """PyTorch's recorded answers, assigned to a version."""
    baseline = Baseline.load(original.baseline(frontend))
    return replace(baseline, about={**baseline.about, "version": version})


def _of_entry(progress: Progress, entry: str, stage: str) -> None:
    progress(f"{entry}: {stage}")
