"""Finds missing files that a model needs to load. Triton 24.10 waits for ever for a Python model without its model.py.

Uses only the standard library.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

#: Backend -> the file it reads in a version's folder, unless the config names another.
_FILES = {"python": "model.py", "onnxruntime": "model.onnx"}
#: The files of an entry that are not needed to serve it.
_UNREAD = {"baseline.json", "baseline.safetensors", "config.pbtxt", "genai_config.json", "tokenizer_config.json"}
_BACKEND = re.compile(r'^\s*backend:\s*"(\w+)"', re.MULTILINE)
_FILE = re.compile(r'^\s*default_model_filename:\s*"([^"]+)"', re.MULTILINE)
_INSTANCES = re.compile(r"\binstance_group\s*\[?\s*\{[^{}]*\bcount:\s*(\d+)")
_VERSIONS = re.compile(r"\bversions:\s*(\[[\d,\s]*\]|\d+)")


def missing(repositories: Iterable[Path], model: str) -> str | None:
    """Says which files a model lacks, in a sentence; None if it lacks none or this is unknown."""
    folder = _folder(repositories, model)
    needed = [] if folder is None else dict.fromkeys(_needed(folder))
    lacking = [path for path in needed if not path.exists()]
    if not lacking:
        return None
    others = f" and {len(lacking) - 1} others are" if len(lacking) > 1 else " is"
    return f"{lacking[0]}{others} missing: copy the model again, or export it"


def is_export(repositories: Iterable[Path], model: str) -> bool:
    """Whether hf2triton exported a model."""
    return any(next((one / model).glob("*/manifest.json"), None) is not None for one in repositories)


def instances(repositories: Collection[Path], model: str, backends: Collection[str]) -> int:
    """The least number of instances that an exported model has as processes. 0 if it is not an export, or if its backend is none
    of `backends`, whose instances are processes."""
    if (folder := _folder(repositories, model)) is None or not is_export(repositories, model):
        return 0
    config = _config(folder)
    backend = _BACKEND.search(config)
    if backend is None or backend[1] not in backends:
        return 0
    return sum(map(int, _INSTANCES.findall(config))) or 1


def _folder(repositories: Iterable[Path], model: str) -> Path | None:
    return next((path for path in (one / model for one in repositories) if (path / "config.pbtxt").is_file()), None)


def _config(folder: Path) -> str:
    return (folder / "config.pbtxt").read_text(encoding="utf-8", errors="replace")


def _needed(folder: Path) -> Iterator[Path]:
    """The files that the versions in a model's config need; if it has no such versions, the files of the last version."""
    config = _config(folder)
    named = re.findall(r"\d+", " ".join(_VERSIONS.findall(config)))
    there = sorted((path.name for path in folder.iterdir() if path.name.isdecimal()), key=int)
    backend, file = _BACKEND.search(config), _FILE.search(config)
    for version in named or there[-1:]:
        if backend and backend[1] in _FILES:
            yield folder / version / (file[1] if file else _FILES[backend[1]])
        yield from (folder / version / name for name in _written(folder / version))


def _written(version: Path) -> Iterator[str]:
    """The files of an exported version, without the graph if it belongs to the other model."""
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
        manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
        in_frontend = manifest["serving"]["runner"] == "inprocess"
        for name in manifest["files"]:
            if (
                name not in _UNREAD
                and not name.startswith("warmup/")
                and (in_frontend or not name.startswith("model.onnx"))
            ):
                yield name
