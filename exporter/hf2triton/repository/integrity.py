"""Compares the files in a repository with the digests in the manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..core.digests import digest_of
from ..core.layout import CONFIG, GRAPH, LINKED, WARMUP, graph_model, is_warmup_as_written
from ..core.manifest import Manifest
from .folder import Folder
from .store import Store


def damages(repository: Path, frontend: str, manifest: Manifest) -> Iterator[str]:
    """Describes each served file or config of a frontend that differs from what was written."""
    folder, version = repository / frontend, str(manifest.version)
    store = Folder(repository)
    yield from version_damages(store, frontend, manifest)
    yield from _damage(store, f"{frontend}/{CONFIG}", manifest.files[CONFIG])
    if (graph_config := manifest.serving.graph_config) is not None:
        yield from _damage(store, f"{graph_model(frontend)}/{CONFIG}", graph_config)
    for name in LINKED:  # there is no digest of the manifest
        path, own = folder / name, folder / version / name
        if not (path.is_file() and own.is_file()) or not (path.samefile(own) or digest_of(path) == digest_of(own)):
            yield f"{path.relative_to(repository)} is not the served version's"
    yield from warmup_damages(repository, frontend)


def warmup_damages(repository: Path, frontend: str) -> Iterator[str]:
    """Describes each warm-up file, of a frontend or the model behind it, that differs from what was written."""
    folders = (repository / frontend, repository / graph_model(frontend))
    for model in (folder for folder in folders if (folder / CONFIG).is_file()):
        for name in re.findall(r'input_data_file: "([^"]+)"', (model / CONFIG).read_text("utf-8", "replace")):
            path = model / WARMUP / name
            if not path.is_file():
                yield f"{model.name}/{WARMUP}/{name} is gone"
            elif not is_warmup_as_written(name, path.read_bytes()):
                yield f"{model.name}/{WARMUP}/{name} was changed"


def version_damages(store: Store, frontend: str, manifest: Manifest) -> Iterator[str]:
    """Describes each file of a frontend's version, served or not, that differs from what was written."""
    version, behind = manifest.version, graph_model(frontend)
    for name, digest in manifest.files.items():
        model = behind if manifest.has_graph_model and Path(name).parts[0] == GRAPH else frontend
        yield from _damage(store, f"{model}/{version}/{name}", digest)
    kept = f"{behind}/{version}/{CONFIG}"
    graph_config = manifest.serving.graph_config
    # if the version's folder has no config, the served config is also the version's
    if graph_config is not None and store.digest(kept) is not None:
        yield from _damage(store, kept, graph_config)


def _damage(store: Store, path: str, digest: str) -> Iterator[str]:
    found = store.digest(path)
    if found is None:
        yield f"{path} is gone"
    elif found != digest:
        yield f"{path} was changed"
