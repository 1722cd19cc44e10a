"""Whether what lies in a repository is what was written there: files on disk compared with the manifests' digests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..source import digest_of
from .layout import CONFIG, GRAPH, LINKED, WARMUP, graph_model


def damages(repository: Path, front: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What of a front's files is not as it was written."""
    folder, version = repository / front, str(manifest["version"])
    behind = repository / graph_model(front)
    in_front = manifest["serving"]["runner"] == "inprocess"
    for name, digest in manifest["files"].items():
        place = folder if in_front or Path(name).parts[0] != GRAPH else behind
        yield from _damage(place / version / name, digest, repository)
    yield from _damage(folder / CONFIG, manifest["files"][CONFIG], repository)
    if not in_front:
        yield from _damage(behind / CONFIG, manifest["serving"]["graph_config"], repository)
    for name in LINKED:  # of the manifest nobody keeps a digest
        path, own = folder / name, folder / version / name
        if not path.is_file() or not (path.samefile(own) or digest_of(path) == digest_of(own)):
            yield f"{path.relative_to(repository)} is not the served version's"
    for model in (one for one in (folder, behind) if (one / CONFIG).is_file()):
        for name in re.findall(r'input_data_file: "([^"]+)"', (model / CONFIG).read_text(encoding="utf-8")):
            if not (model / WARMUP / name).is_file():
                yield f"{model.name}/{WARMUP}/{name} is gone"


def _damage(path: Path, digest: str, repository: Path) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.relative_to(repository)} is gone"
    elif digest_of(path) != digest:
        yield f"{path.relative_to(repository)} was changed"
