"""Makes a version the served one, in a way that whoever comes after a kill can complete or take back.

An entry may be several models, and no store changes several files at once. So what is about to be done is written down first
(one file, in one step), then done, then the note goes. Under the lock, whoever finds a note completes it, if all models of the
version are there, and takes it back otherwise. Each config is replaced as a whole, so that at any moment each model serves a
version that is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from ..core.layout import CONFIG, MANIFEST, graph_model, is_candidate, version_in
from .config import to_text
from .store import Store

#: The note, in the repository's folder, where Triton looks at folders alone.
NOTE = ".switch.json"


@dataclass(frozen=True)
class Transaction:
    """What is to become of an entry. `configs`: model -> its config once switched, graphs first. `before`: the same as it was,
    None where the model is new. `added`: the version is new in the repository, and goes if it is not to be. `back`: it is
    being taken back."""

    entry: str
    version: int
    frontends: tuple[str, ...]
    configs: Mapping[str, str]
    before: Mapping[str, str | None]
    added: bool
    back: bool = False

    def between(self, model: str) -> str:
        """The config of a graph that suits both versions of its frontend: either may call it while they change. The old one may
        send larger batches than the new one does."""
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
        """The version that was served, if one was."""
        return next((version_in(self.before[frontend]) for frontend in self.frontends if self.before[frontend]), None)


def plan_switch(
    store: Store,
    entry: str,
    version: int,
    frontends: tuple[str, ...],
    configs: Mapping[str, str],
    *,
    added: bool,
    running: int | None = None,
) -> Transaction:
    """With what is served now: what the configs say, or the version that a server is `running`, where the store has that. A
    config that is gone, or that Triton would refuse, counts as the one that the version keeps."""
    served = list(_served(store, frontends))
    before = {}
    for model in configs:
        kept = store.read(f"{model}/{running}/{CONFIG}") if running is not None and running != version else None
        content = kept or store.read(f"{model}/{CONFIG}")
        if not _is_config_of(model, content):
            found = (store.read(f"{model}/{one}/{CONFIG}") for one in served)
            content = next((one for one in found if _is_config_of(model, one)), content)
        before[model] = None if content is None else content.decode(errors="replace")
    return Transaction(entry, version, frontends, configs, before, added)


def begin(store: Store, switch: Transaction) -> None:
    """From here on a kill leaves a note."""
    store.hold()
    _note(store, switch)


def carry_out(store: Store, switch: Transaction) -> None:
    """Switches, once all models of the version are in their place. May be done again."""
    store.hold()
    for graph in switch.graphs:
        store.put(f"{graph}/{CONFIG}", switch.between(graph).encode())
    for model in (*switch.frontends, *switch.graphs):
        store.put(f"{model}/{CONFIG}", switch.configs[model].encode())
    for frontend in switch.frontends:
        store.link(frontend, switch.version)


def take_back(store: Store, switch: Transaction, reload: Callable[[], None] = lambda: None) -> None:
    """Puts back what was served before. May be done again. `reload`: makes a server serve that before the version goes."""
    store.hold()
    _note(store, replace(switch, back=True))
    for graph in switch.graphs:
        if switch.before[graph] is not None and store.read(f"{graph}/{CONFIG}") is not None:
            store.put(f"{graph}/{CONFIG}", switch.between(graph).encode())
    for model in (*switch.frontends, *switch.graphs):
        config = switch.before[model]
        if config is None:
            store.remove(model)
            continue
        store.put(f"{model}/{CONFIG}", config.encode())
        if model in switch.frontends and (version := version_in(config)) is not None:
            store.link(model, version)
    reload()
    if switch.added:
        for model in reversed(switch.configs):
            store.remove(f"{model}/{switch.version}")
    end(store)


def end(store: Store) -> None:
    """The switch stands."""
    store.remove(NOTE)


def recover(store: Store) -> Transaction | None:
    """Clears up after a publisher that was killed; gives the switch that was completed, if one was."""
    for model in store.models():
        if is_candidate(model):
            store.remove(model)
    content = store.read(NOTE)
    if content is None:
        return None
    written = json.loads(content)
    switch = Transaction(**{**written, "frontends": tuple(written["frontends"])})
    complete = all(switch.version in store.versions(model) for model in switch.configs) and all(
        store.read(f"{frontend}/{switch.version}/{MANIFEST}") is not None for frontend in switch.frontends
    )
    if switch.back or not complete:
        take_back(store, switch)
        return None
    carry_out(store, switch)
    end(store)
    return switch


def make_room(store: Store, frontends: Iterable[str]) -> None:
    """Removes graphs that are newer than the served version, from which somebody went back. Models of graphs have their two
    newest versions loaded, which must be the served one and the one to come."""
    for frontend in frontends:
        config = store.read(f"{frontend}/{CONFIG}")
        served = None if config is None else version_in(config.decode(errors="replace"))
        for version in store.versions(graph_model(frontend)) if served is not None else ():
            if version > served:
                store.remove(f"{graph_model(frontend)}/{version}")


def keep_graphs(store: Store, frontends: Iterable[str], kept: Collection[int | None]) -> None:
    """Removes the graphs of all other versions."""
    for frontend in frontends:
        for version in store.versions(graph_model(frontend)):
            if version not in kept:
                store.remove(f"{graph_model(frontend)}/{version}")


def _served(store: Store, frontends: Iterable[str]) -> Iterator[int]:
    """The version of an entry that is served: what its configs say, then what is shown beside them."""
    for frontend in frontends:
        content = store.read(f"{frontend}/{CONFIG}") or b""
        if (version := version_in(content.decode(errors="replace"))) is not None:
            yield version
    for frontend in frontends:
        try:
            yield int(json.loads(store.read(f"{frontend}/{MANIFEST}") or b"")["version"])
        except (ValueError, KeyError, TypeError):
            continue  # it is damaged as well: another frontend's may not be


def _is_config_of(model: str, content: bytes | None) -> bool:
    """Whether it is a config, and the model's."""
    config = None if content is None else _parsed(content.decode(errors="replace"))
    return config is not None and config.name == model


def _parsed(text: str) -> pb.ModelConfig | None:
    """A config, None if it is none."""
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError:
        return None


def _note(store: Store, switch: Transaction) -> None:
    store.put(NOTE, json.dumps(asdict(switch), indent=2, ensure_ascii=False).encode())
