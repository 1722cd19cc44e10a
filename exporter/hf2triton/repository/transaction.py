"""The only way a repository changes: export, publish, rollback and prune are transactions.

An entry may be several models, and no store changes several files at once. A transaction is therefore first written into a
journal (one file, in one step) and then carried out; at the end the journal is removed. A process that finds a journal under the
lock completes its transaction if all models of the version are in place, and otherwise reverts it. Each config is replaced as a
whole: at any moment, each model serves a complete version. Removals cannot be reverted, so they come last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from ..core.json_files import json_bytes
from ..core.layout import CONFIG, MANIFEST, graph_model, is_candidate, version_in
from ..core.record import Record
from ..errors import RepositoryError
from .config import to_text
from .staged_entry import ModelFiles
from .store import Store

#: The journal, a file in the repository's folder; Triton only looks at the folders there.
JOURNAL = ".switch.json"


@dataclass(frozen=True, kw_only=True)
class Transaction(Record):
    """A change of an entry, as written in the journal. `configs`: model → its new config, a graph before the frontend that calls
    it. `before`: model → its old config, None if the model is new. `added`: the version is new in the repository. A revert then
    removes it, together with its new warm-up files (`shared`, because later versions use them too). `removed`: the versions that
    are removed at the end; all other fields are empty if the transaction only removes versions. `back`: it is being reverted."""

    entry: str = ""
    version: int = 0
    frontends: Sequence[str] = ()
    configs: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str | None] = field(default_factory=dict)
    added: bool = False
    back: bool = False
    shared: Sequence[str] = ()
    removed: Sequence[str] = ()

    def between(self, model: str) -> str:
        """A graph's config that suits both versions of its frontend, since either may call it during the change. The old version
        may send larger batches than the new one."""
        config, before = self.configs[model], self.before[model]
        old = None if before is None else _parsed(before)
        wide = text_format.Parse(config, pb.ModelConfig())
        if old is None or wide.max_batch_size >= old.max_batch_size:
            return config
        wide.max_batch_size = old.max_batch_size
        return to_text(wide)

    @property
    def graphs(self) -> list[str]:
        """The models that frontends call."""
        return [model for model in self.configs if model not in self.frontends]

    @property
    def served_before(self) -> int | None:
        """The version that was served before, if any."""
        configs = (self.before[frontend] for frontend in self.frontends)
        return next((version_in(config) for config in configs if config), None)


def plan(
    store: Store,
    entry: str,
    version: int,
    frontends: Sequence[str],
    configs: Mapping[str, str],
    models: Sequence[ModelFiles] = (),
    running: int | None = None,
) -> Transaction:
    """The transaction that makes a version the served one. `models`: its files, if the store does not have it yet. `running`: the
    version that a server runs, if it differs from the one in the configs.

    The copy in the version's folder stands in for a config that is missing or that Triton would refuse.
    """
    served = list(_served(store, frontends))
    before = {}
    for model in configs:
        kept = store.read(f"{model}/{running}/{CONFIG}") if running is not None and running != version else None
        content = kept or store.read(f"{model}/{CONFIG}")
        if not _is_config_of(model, content):
            found = (store.read(f"{model}/{one}/{CONFIG}") for one in served)
            content = next((one for one in found if _is_config_of(model, one)), content)
        before[model] = None if content is None else content.decode(errors="replace")
    paths = [f"{model.name}/{path}" for model in models for path in model.shared]
    transaction = Transaction(
        entry=entry,
        version=version,
        frontends=list(frontends),
        configs=configs,
        before=before,
        added=bool(models),
        shared=[path for path in paths if store.digest(path) is None],
    )
    kept_graphs = (version, transaction.served_before)
    if transaction.served_before == version:  # only restores a config: a rollback to the version before stays possible
        return transaction
    graphs = [graph_model(frontend) for frontend in frontends]
    superseded = [f"{graph}/{one}" for graph in graphs for one in store.versions(graph) if one not in kept_graphs]
    return replace(transaction, removed=superseded)


def commit(
    store: Store,
    transaction: Transaction,
    models: Sequence[ModelFiles] = (),
    serve: Callable[[], None] = lambda: None,
    restore: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda stage: None,
) -> None:
    """Carries out a transaction under the lock. `models`: the files of the version, if the store does not have it yet. `serve`:
    makes a server serve the version and asks it; `restore`: makes it serve the version before.

    Any error is raised after everything is restored, except an error during the removal of old versions at the end: then the next
    transaction continues the removal.
    """
    if models:
        _make_room(store, transaction.frontends)
    for model in models:
        progress(f"copy {model.name}, version {transaction.version}")
        store.stage(model, transaction.version)
    store.hold()
    _write_journal(store, transaction)
    try:
        for model in models:
            store.add(model.name, transaction.version)
        carry_out(store, transaction)
        serve()
    except BaseException:
        progress("put back what was served before")
        take_back(store, transaction, restore)
        raise
    _finish(store, transaction)


def carry_out(store: Store, transaction: Transaction) -> None:
    """Serves the version once all its models are in place. Can be repeated."""
    store.hold()
    for graph in transaction.graphs:
        store.put(f"{graph}/{CONFIG}", transaction.between(graph).encode())
    for model in (*transaction.frontends, *transaction.graphs):
        store.put(f"{model}/{CONFIG}", transaction.configs[model].encode())
    for frontend in transaction.frontends:
        store.link(frontend, transaction.version)


def take_back(store: Store, transaction: Transaction, restore: Callable[[], None] = lambda: None) -> None:
    """Restores what was served before. Can be repeated. `restore`: makes a server serve it before the version is removed."""
    store.hold()
    _write_journal(store, replace(transaction, back=True))
    for graph in transaction.graphs:
        if transaction.before[graph] is not None and store.read(f"{graph}/{CONFIG}") is not None:
            store.put(f"{graph}/{CONFIG}", transaction.between(graph).encode())
    for model in (*transaction.frontends, *transaction.graphs):
        config = transaction.before[model]
        if config is None:
            # a model that had versions but no config keeps its versions
            others = set(store.versions(model)) - {transaction.version}
            store.remove(f"{model}/{CONFIG}" if others else model)
            continue
        store.put(f"{model}/{CONFIG}", config.encode())
        if model in transaction.frontends and (version := version_in(config)) is not None:
            store.link(model, version)
    restore()
    if transaction.added:
        for model in reversed(list(transaction.configs)):
            store.remove(f"{model}/{transaction.version}")
        for path in transaction.shared:
            store.remove(path)
    store.remove(JOURNAL)


def recover(store: Store) -> None:
    """Cleans up after a killed process: completes or reverts its transaction."""
    for model in store.models():
        if is_candidate(model):
            store.remove(model)
    transaction = _read_journal(store)
    if transaction is None:
        return
    complete = all(transaction.version in store.versions(model) for model in transaction.configs) and all(
        store.read(f"{frontend}/{transaction.version}/{MANIFEST}") is not None for frontend in transaction.frontends
    )
    if transaction.back or not complete:
        take_back(store, transaction)
    else:
        carry_out(store, transaction)
        _finish(store, transaction)


def remove_versions(store: Store, versions: Sequence[str], progress: Callable[[str], None]) -> None:
    """Removes versions that are not served, given as `MODEL/VERSION`, under the lock. After a kill or an error, the next
    transaction continues the removal."""
    transaction = Transaction(removed=versions)
    store.hold()
    _write_journal(store, transaction)
    _finish(store, transaction, progress)


def taken_versions(store: Store, frontends: Iterable[str]) -> set[int]:
    """The version numbers in use by the frontends of an entry or their graphs."""
    models = [model for frontend in frontends for model in (frontend, graph_model(frontend))]
    return {version for model in models for version in store.versions(model)}


def _finish(store: Store, transaction: Transaction, progress: Callable[[str], None] = lambda stage: None) -> None:
    """Ends a transaction that will not be reverted: removes old versions, then the journal."""
    store.hold()
    for path in transaction.removed:
        model, _, version = path.rpartition("/")
        progress(f"remove version {version} of {model}")
        store.remove(path)
    store.hold()
    store.remove(JOURNAL)


def _make_room(store: Store, frontends: Iterable[str]) -> None:
    """Removes graphs that are newer than the served version and were left by a rollback. Triton loads a graph model's two newest
    versions; these must be the served one and the next one."""
    for frontend in frontends:
        config = store.read(f"{frontend}/{CONFIG}")
        served = None if config is None else version_in(config.decode(errors="replace"))
        for version in store.versions(graph_model(frontend)):
            if served is not None and version > served:
                store.remove(f"{graph_model(frontend)}/{version}")


def _served(store: Store, frontends: Iterable[str]) -> Iterator[int]:
    """The served version of an entry, from its configs and then from the manifests beside them."""
    for frontend in frontends:
        content = store.read(f"{frontend}/{CONFIG}") or b""
        if (version := version_in(content.decode(errors="replace"))) is not None:
            yield version
    for frontend in frontends:
        try:
            yield int(json.loads(store.read(f"{frontend}/{MANIFEST}") or b"")["version"])
        except (ValueError, KeyError, TypeError):
            continue  # also damaged: another frontend's may be intact


def _is_config_of(model: str, content: bytes | None) -> bool:
    """Whether the content is a config of the model."""
    config = None if content is None else _parsed(content.decode(errors="replace"))
    return config is not None and config.name == model


def _parsed(text: str) -> pb.ModelConfig | None:
    """A parsed config; None if it is not valid."""
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError:
        return None


def _write_journal(store: Store, transaction: Transaction) -> None:
    store.put(JOURNAL, json_bytes(transaction.to_json()))


def _read_journal(store: Store) -> Transaction | None:
    """The transaction that a killed process left behind. Raises RepositoryError."""
    content = store.read(JOURNAL)
    if content is None:
        return None
    try:
        written = json.loads(content)
        if "fronts" in written:  # the name in earlier versions
            written["frontends"] = written.pop("fronts")
        return Transaction.from_json(written)
    except (ValueError, TypeError) as error:
        raise RepositoryError(
            f"{store.place}/{JOURNAL}, the journal of a transaction that was interrupted, cannot be read: {error}. See with"
            " hf2triton lint whether what is served is whole, and remove the file"
        ) from error
