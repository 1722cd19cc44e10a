"""A version of an entry, ready to be written elsewhere: unchanged, with another number, or with another name.

A few small files contain the version's number and the names of the frontends. These files are rewritten, and their digests in the
manifest updated; the digests of all other files stay as they were at the export.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.transport.served_model import PARAMETER

from ..core.digests import digest_of_content
from ..core.frontend_settings import GraphModel, read_encoder_settings, settings_bytes
from ..core.json_files import json_bytes
from ..core.layout import BASELINE, BASELINE_JSON, CONFIG, FRONT, GRAPH, LINKED, MANIFEST, WARMUP, graph_model
from ..core.manifest import Manifest, served_manifest
from ..errors import RepositoryError
from ..repository.config import to_text
from ..repository.integrity import damages
from ..repository.staged_entry import ModelFiles
from ..repository.store import Store


@dataclass(frozen=True)
class Original:
    """The served version of an entry in a folder. `manifests`: frontend → its manifest."""

    repository: Path
    entry: str
    manifests: Mapping[str, Manifest]

    @property
    def version(self) -> int:
        return next(iter(self.manifests.values())).version

    def baseline(self, frontend: str) -> Path:
        """PyTorch's recorded answers."""
        return self.repository / frontend / str(self.version) / BASELINE


@dataclass(frozen=True)
class Copy:
    """A version to be written. `models`: the graphs, then the frontends."""

    version: int
    models: tuple[ModelFiles, ...]

    @property
    def frontends(self) -> list[str]:
        return [model.name for model in self.models if MANIFEST in model.versioned]


def read_original(repository: Path, entry: str, frontends: Sequence[str]) -> Original:
    """The version that an entry serves. Raises RepositoryError if it is not what was exported."""
    manifests = {frontend: served_manifest(repository, frontend) for frontend in frontends}
    found = [
        f"{frontend}: {one}" for frontend in frontends for one in damages(repository, frontend, manifests[frontend])
    ]
    if len({manifest.version for manifest in manifests.values()}) > 1:
        found.append("its frontends serve different versions")
    if found:
        raise RepositoryError(f"{entry} in {repository} is not what was exported: {'; '.join(found)}")
    return Original(repository, entry, manifests)


def copy_of(original: Original, version: int, names: Mapping[str, str] | None = None) -> Copy:
    """The version with the number `version`, which may be the same. `names`: frontend -> its name in the copy."""
    names = names or {frontend: frontend for frontend in original.manifests}
    copied = [_copy_frontend(original, *item, version, names) for item in original.manifests.items()]
    graphs = [graph for graph, _ in copied if graph is not None]
    return Copy(version, (*graphs, *(frontend for _, frontend in copied)))


def is_in(store: Store, copy: Copy) -> bool:
    """Whether a store has exactly this version, undamaged."""
    frontends = [model for model in copy.models if MANIFEST in model.versioned]
    if any(store.read(f"{one.name}/{copy.version}/{MANIFEST}") != one.versioned[MANIFEST] for one in frontends):
        return False
    return all(
        store.digest(f"{model.name}/{copy.version}/{path}") == (model.digests.get(path) or digest_of_content(content))
        for model in copy.models
        for path, content in model.versioned.items()
    )


def is_shown(store: Store, copy: Copy) -> bool:
    """Whether a store that has this version serves it: the configs and the files beside them belong to this version."""
    return (
        all(store.read(f"{model.name}/{CONFIG}") == model.config.encode() for model in copy.models)
        and all(
            store.digest(f"{frontend}/{name}") == store.digest(f"{frontend}/{copy.version}/{name}")
            for frontend in copy.frontends
            for name in LINKED
        )
        and not list(_unshared(store, copy))
    )


def put_shared(store: Store, copy: Copy) -> None:
    """Restores missing files that the configs of a version name."""
    for path, content in _unshared(store, copy):
        store.put(path, content if isinstance(content, bytes) else content.read_bytes())


def _unshared(store: Store, copy: Copy) -> Iterator[tuple[str, bytes | Path]]:
    """Path in the store -> content, for each missing file that a version shares with others."""
    for model in copy.models:
        for path, content in model.shared.items():
            if store.digest(f"{model.name}/{path}") is None:
                yield f"{model.name}/{path}", content


def _copy_frontend(
    original: Original, frontend: str, manifest: Manifest, version: int, names: Mapping[str, str]
) -> tuple[ModelFiles | None, ModelFiles]:
    """The model behind a frontend, if there is one, and the frontend."""
    number, apart = str(manifest.version), manifest.has_graph_model
    folder, behind = original.repository / frontend / number, original.repository / graph_model(frontend)
    of_graph = {name for name in manifest.files if apart and Path(name).parts[0] == GRAPH}
    versioned: dict[str, bytes | Path] = {name: folder / name for name in manifest.files if name not in of_graph}
    changed: dict[str, bytes] = {}
    if version != manifest.version or names[frontend] != frontend:
        changed = _changed(folder, version, names[frontend], names, apart)
    files = {**manifest.files, **{name: digest_of_content(content) for name, content in changed.items()}}
    versioned |= changed
    versioned[MANIFEST] = (folder / MANIFEST).read_bytes()
    if changed:
        versioned[MANIFEST] = replace(manifest, name=names[frontend], version=version, files=files).to_bytes()
    config = (changed.get(CONFIG) or (folder / CONFIG).read_bytes()).decode()
    warmups = re.findall(r'input_data_file: "([^"]+)"', config)
    shared = {f"{WARMUP}/{name}": (folder.parent / WARMUP / name).read_bytes() for name in dict.fromkeys(warmups)}
    own = ModelFiles(names[frontend], config, shared, versioned, files)
    if not apart:
        return None, own
    name = graph_model(names[frontend])
    config = (behind / CONFIG).read_text(encoding="utf-8")
    if names[frontend] != frontend:
        parsed = text_format.Parse(config, pb.ModelConfig())
        parsed.name = name
        config = to_text(parsed)
    graph = {path: behind / number / path for path in of_graph}
    digests = {path: files[path] for path in of_graph}
    return ModelFiles(name, config, {}, {**graph, CONFIG: config.encode()}, digests), own


def _changed(folder: Path, version: int, name: str, names: Mapping[str, str], apart: bool) -> dict[str, bytes]:
    """The files of a frontend that contain its number or name, changed to those of the copy."""
    config = text_format.Parse((folder / CONFIG).read_text(encoding="utf-8"), pb.ModelConfig())
    config.name = name
    config.version_policy.specific.versions[:] = [version]
    settings = json.loads(config.parameters[PARAMETER].string_value)
    if "fronts" in settings:
        settings["fronts"] = {reads: names.get(other, other) for reads, other in settings["fronts"].items()}
        config.parameters[PARAMETER].string_value = json.dumps(settings, ensure_ascii=False, sort_keys=True)
    baseline = json.loads((folder / BASELINE_JSON).read_text(encoding="utf-8"))
    baseline["about"] |= {"name": name, "version": version}
    changed = {CONFIG: to_text(config).encode(), BASELINE_JSON: json_bytes(baseline)}
    if apart:
        calls = GraphModel(model=graph_model(name), model_version=version)
        changed[FRONT] = settings_bytes(replace(read_encoder_settings(folder), runner=calls))
    return changed
