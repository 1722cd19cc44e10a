"""Makes a version of an entry the served one, on disk or in a store, and on a server that serves it; or leaves all as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from hf2triton_client.errors import ClientError
from hf2triton_client.evaluation.baseline import Baseline

from ..core.layout import CONFIG, candidate
from ..errors import ControlRefused, ServingError
from ..repository.staged_entry import ModelFiles
from ..repository.store import Store
from ..repository.transaction import Transaction, commit
from .copies import Original, copy_of
from .live import Live

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def install(
    store: Store,
    transaction: Transaction,
    models: Sequence[ModelFiles],
    live: Live | None,
    baselines: Mapping[str, Baseline],
    progress: Progress,
) -> None:
    """Carries a transaction out, under the lock. `models`: the files of the version, where the store does not have it yet. With
    `live` the server loads it and is asked for `baselines` (frontend → PyTorch's answers). What was served before is served
    again after any error, which is raised."""
    if live is None:
        commit(store, transaction, models, progress=progress)
        return

    def serve() -> None:
        progress(f"load version {transaction.version} and ask it")
        load(live, transaction)
        for frontend in transaction.frontends:
            live.ask(frontend, baselines[frontend])

    commit(store, transaction, models, serve, lambda: _put_back(live, transaction), progress)


def load(live: Live, transaction: Transaction) -> None:
    """Makes a server serve the version. The graph of the old one stays: it is called until the frontend is the new one."""
    for graph in transaction.graphs:
        live.load(graph, transaction.between(graph), {transaction.version, transaction.served_before})
    for frontend in transaction.frontends:
        live.load(frontend)


def try_out(
    store: Store, original: Original, version: int, live: Live, baselines: Mapping[str, Baseline], progress: Progress
) -> None:
    """Serves a version under another name and asks it for PyTorch's answers; the old one is served meanwhile. Raises ParityError
    if it gives others, and ServingError if it cannot be loaded."""
    copy = copy_of(original, version, {frontend: candidate(frontend) for frontend in original.manifests})
    models = [model.name for model in copy.models]
    try:
        for own in copy.models:
            progress(f"copy {own.name}, version {version}, to be tried")
            store.stage(own, version)
            store.add(own.name, version)
            store.put(f"{own.name}/{CONFIG}", own.config.encode())
        for model in models:
            progress(f"load {model}")
            live.load(model)
        for frontend, baseline in baselines.items():
            progress(f"ask {candidate(frontend)}")
            live.ask(candidate(frontend), baseline)
    finally:
        give_up(live, reversed(models))
        for model in reversed(models):
            store.remove(model)


def give_up(live: Live, models: Iterable[str]) -> None:
    """Unloads models; a server that does not is told of, as it keeps their memory."""
    for model in models:
        try:
            live.unload(model)
        except ControlRefused:
            continue  # who may not unload could not load it either, and is told of that
        except (ServingError, ClientError) as error:
            log.error("%s may still be loaded: %s", model, error)


def _put_back(live: Live, transaction: Transaction) -> None:
    """Makes a server serve what was served before, in so far as it answers at all."""
    for model in reversed(list(transaction.configs)):
        config = transaction.before[model]
        if config is None:
            give_up(live, [model])
            continue
        try:
            if model in transaction.frontends:
                live.load(model)
            else:
                live.load(model, config, {transaction.served_before})
        except ControlRefused:
            continue  # it did not let the new version be loaded either: it serves what it served
        except (ServingError, ClientError) as error:
            log.error("the server may not serve version %s of %s: %s", transaction.served_before, model, error)
