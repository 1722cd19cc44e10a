"""Names and places in a model repository.

NAME/config.pbtxt                  which version is served (version_policy), batching, inputs and outputs
NAME/1/                            everything that belongs to version 1; it appears by one rename:
    model.py …                     the frontend, copied unchanged
    front.json  tokenizer.json     its settings and its tokenizer
    model.onnx                     the graph (runner inprocess); with more than 2 GB of weights, a folder that holds
                                   model.onnx and weights.data
    manifest.json  config.pbtxt    what was exported, and the config that serves this version
    baseline.safetensors  .json    PyTorch's answers
NAME/manifest.json  baseline.*     the served version's files again (hard links)
NAME/warmup/                       what Triton sends the model while loading it, of all versions
NAME_model/1/model.onnx            the graph (runner bls), with a separate config.pbtxt
_candidate-NAME/                   a version that is tried on a server before it is served

A task with two frontends (zero-shot-image-classification) has NAME_text and NAME_image in place of NAME.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ..errors import RepositoryError, UsageError
from ..tasks import TASKS
from ..tasks.base import Endpoint

CONFIG, MANIFEST, FRONT, TOKENIZER, GRAPH = (
    "config.pbtxt",
    "manifest.json",
    "front.json",
    "tokenizer.json",
    "model.onnx",
)
BASELINE, BASELINE_JSON = "baseline.safetensors", "baseline.json"
WARMUP = "warmup"
#: How many digits of the digest the name of a warm-up file has.
_DIGITS = 12
#: Files of the served version that also lie beside config.pbtxt.
LINKED = (MANIFEST, BASELINE, BASELINE_JSON)

_CANDIDATE = "_candidate-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check_name(name: str) -> str:
    """The name, if Triton, URLs and file systems all accept it. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a valid model name: up to 128 letters, digits, '_', '-' and '.', beginning with a letter or digit"
        )
    if name.endswith("_model"):
        raise UsageError(f"{name!r} ends in _model, which is kept for the graph behind a frontend")
    return name


def frontend_name(name: str, endpoint: Endpoint) -> str:
    """The name of the frontend that serves a part of the entry's task."""
    return f"{name}{endpoint.suffix}"


def frontends_of(repository: Path, name: str) -> list[str]:
    """The frontends of an entry, or the frontend of that name. Raises RepositoryError."""
    known = entries(repository)
    suffixed = [
        [frontend_name(name, endpoint) for endpoint in task.endpoints]
        for task in TASKS.values()
        if len(task.endpoints) > 1
    ]
    for names in ([name], *suffixed):
        if set(names) <= set(known):
            return names
    if not repository.is_dir():
        raise no_repository(repository)
    raise RepositoryError(f"{repository} has no entry {name!r} (known: {', '.join(known) or 'none'})")


def no_repository(place: object) -> RepositoryError:
    """The error for a missing repository."""
    return RepositoryError(f"there is no model repository at {place}: hf2triton export or publish makes one")


def graph_model(name: str) -> str:
    """The name of the model that holds the graph if the frontend calls it."""
    return f"{name}_model"


def graph_in(folder: Path) -> Path:
    """The file of the graph in a version's folder. A graph with separate weights lies in a subfolder of the same name."""
    path = folder / GRAPH
    return path / GRAPH if path.is_dir() else path


def candidate(name: str) -> str:
    """The name under which a version is tried. No entry can have it."""
    return f"{_CANDIDATE}{name}"


def is_candidate(model: str) -> bool:
    """Whether a model is a version that is being tried."""
    return model.startswith(_CANDIDATE)


def version_in(config: str) -> int | None:
    """The version that a frontend's config serves."""
    match = re.search(r"versions:\s*\[?\s*(\d+)", config)
    return int(match[1]) if match else None


def versions(folder: Path) -> list[int]:
    """The versions in a model's folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())


def entries(repository: Path) -> list[str]:
    """The names of the frontends in a repository."""
    if not repository.is_dir():
        return []
    return sorted(path.parent.name for path in repository.glob(f"*/{MANIFEST}"))


def served_version(repository: Path, name: str) -> int:
    """The version that an entry's config serves. Raises RepositoryError."""
    path = repository / name / CONFIG
    try:
        version = version_in(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RepositoryError(f"{path} cannot be read: {error}") from error
    if version is None:
        raise RepositoryError(f"{path} does not say which version it serves: was it written by hf2triton?")
    return version


def baseline_path(repository: Path, name: str) -> Path:
    """The baseline of the version that is served."""
    return repository / name / str(served_version(repository, name)) / BASELINE


def graph_file(repository: Path, name: str, version: int) -> Path:
    """The graph of a frontend's version: in its folder, or in that of the model behind it. Raises RepositoryError."""
    places = [graph_in(repository / model / str(version)) for model in (name, graph_model(name))]
    for path in places:
        if path.is_file():
            return path
    raise RepositoryError(f"version {version} of {name!r} has no graph: neither {places[0]} nor {places[1]} is there")


def warmup_file(name: str, content: bytes) -> str:
    """The name of a warm-up file with this content."""
    return f"{name}-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def is_warmup_as_written(name: str, content: bytes) -> bool:
    """Whether a warm-up file still has the content it was written with. Files of earlier versions have no digest in their
    names, and count as unchanged."""
    stem, _, digest = name.rpartition("-")
    return not stem or len(digest) != _DIGITS or warmup_file(stem, content) == name
