"""Makes a version of an entry the served one, in a folder or store and on its server, or leaves everything unchanged."""

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
    """Carries out a transaction under the lock. `models`: the files of the version, if the store does not have it yet. With
    `live`, the server loads the version and is asked for `baselines` (frontend → PyTorch's answers). After any error, which is
    raised, the version before is served again."""
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
    """Makes a server serve the version. The old version's graph stays loaded: the old frontend calls it until it is replaced."""
    for graph in transaction.graphs:
        live.load(graph, transaction.between(graph), {transaction.version, transaction.served_before})
    for frontend in transaction.frontends:
        live.load(frontend)


def try_out(
    store: Store, original: Original, version: int, live: Live, baselines: Mapping[str, Baseline], progress: Progress
) -> None:
    """Serves a version under another name, beside the old version, and asks it for PyTorch's answers. Raises ParityError if its
    answers differ, and ServingError if it cannot be loaded."""
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
    """Unloads models; logs an error if the server fails to, because the models would keep their memory."""
    for model in models:
        try:
            live.unload(model)
        except ControlRefused:
            continue  # without the right to unload, loading failed too and was reported
        except (ServingError, ClientError) as error:
            log.error("%s may still be loaded: %s", model, error)


def _put_back(live: Live, transaction: Transaction) -> None:
    """Makes a server serve what it served before, if it still answers."""
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
            continue  # it refused to load the new version too, so it still serves the old one
        except (ServingError, ClientError) as error:
            log.error("the server may not serve version %s of %s: %s", transaction.served_before, model, error)
