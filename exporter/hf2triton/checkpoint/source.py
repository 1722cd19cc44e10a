"""Turns a folder or a hub id into files on this machine, and checks them before they are loaded."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.digests import digest_of
from ..core.json_files import read_json
from ..core.source import SentenceModule, Source
from ..errors import SourceError, WeightsError
from .sentence_folder import read_modules
from .sentence_layers import weight_files

log = logging.getLogger(__name__)

#: The prefix of sources in a Python package.
PACKAGE = "package:"
_HUB_DESCRIPTIONS = ["*.json", "*.txt", "*.model"]
_HUB_FILES = [*_HUB_DESCRIPTIONS, "*.safetensors"]
_INDEX = "model.safetensors.index.json"
#: The first bytes of Git LFS pointers, which stand in for large files.
_LFS = b"version https://git-lfs"


def find_source(given: str, revision: str | None = None, allow_pickle: bool = False) -> Source:
    """The files behind a folder, a package's folder or a hub id, with their digests. Respects offline mode and the hub's cache.
    Raises SourceError and WeightsError."""
    return with_digests(open_source(given, revision, allow_pickle))


def open_source(given: str, revision: str | None = None, allow_pickle: bool = False) -> Source:
    """Like `find_source`, without digests, which take a while. Reads the weights' headers, which reveals truncated files."""
    folder, commit = _locate(given, revision, [*_HUB_FILES, *(["*.bin"] if allow_pickle else [])])
    modules, config = _read_configs(given, folder)
    weights = _weights(_model_folder(folder, modules), allow_pickle)
    layers = [path for module in modules[1:] for path in weight_files(folder / module.path, allow_pickle)]
    files = tuple(str(path.relative_to(folder)) for path in (*weights, *layers))
    return Source(given, folder, commit, config, modules, files)


def peek_source(given: str, revision: str | None = None, allow_pickle: bool = False) -> Source:
    """Like `open_source`, without weights: they are neither fetched from the hub nor checked."""
    folder, commit = _locate(given, revision, _HUB_DESCRIPTIONS)
    modules, config = _read_configs(given, folder)
    return Source(given, folder, commit, config, modules)


def with_digests(source: Source) -> Source:
    """The source with the digests of all its files."""
    described = (path for path in source.folder.rglob("*") if _describes(path, source.folder))
    files = {*source.weights, *(str(path.relative_to(source.folder)) for path in described)}
    return replace(source, digests={name: digest_of(source.folder / name) for name in sorted(files)})


def folder_of(given: str) -> Path:
    """The folder that a source names, if it is not a hub id: a path, or `package:NAME/FOLDER`. It may not exist. Raises
    SourceError for a package that is not installed."""
    if not given.startswith(PACKAGE):
        return Path(given).expanduser()
    name, _, inside = given.removeprefix(PACKAGE).partition("/")
    try:
        spec = importlib.util.find_spec(name)  # for a name without dots, this imports nothing
    except ValueError:
        spec = None
    if "." in name or spec is None or not spec.submodule_search_locations:
        known = f"pip install {name.replace('_', '-')}" if name.isidentifier() else f"{PACKAGE}NAME/FOLDER"
        raise SourceError(f"{given}: there is no Python package {name!r} here; install it ({known})")
    return Path(spec.submodule_search_locations[0], inside)


def _locate(given: str, revision: str | None, patterns: list[str]) -> tuple[Path, str | None]:
    """The folder of a source, and the commit if it comes from the hub. `patterns`: the files to fetch."""
    path = folder_of(given)
    if path.is_dir():
        return path.resolve(), None
    if path.is_file():
        raise SourceError(f"{given} is a file; give the folder that save_pretrained or Trainer wrote")
    if given.startswith((".", "/", "~", PACKAGE)) or given.count("/") > 1:
        raise SourceError(f"there is no folder {path if given.startswith(PACKAGE) else given}")
    return _download(given, revision, patterns)


def _read_configs(given: str, folder: Path) -> tuple[tuple[SentenceModule, ...], dict[str, Any]]:
    """The sentence-transformers modules of a source, and its config."""
    modules = read_modules(folder)
    model = _model_folder(folder, modules)
    config = read_json(model / "config.json", f"{given} holds no config.json: {_instead(model)}")
    if not isinstance(config, dict):
        raise SourceError(f"{model / 'config.json'} does not hold a JSON object")
    return modules, config


def weight_shapes(source: Source) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in the model's safetensors files; empty for pickles."""
    return {name: shape for file in source.safetensors for name, shape in tensor_shapes(file).items()}


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in a safetensors file, from its header."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _model_folder(folder: Path, modules: tuple[SentenceModule, ...]) -> Path:
    return folder / (modules[0].path if modules else "")


def _instead(folder: Path) -> str:
    """What a folder without a config may be: an adapter, or the folder that holds Trainer's checkpoints."""
    if (folder / "adapter_config.json").is_file():
        return f"it is an adapter ({folder}): give its base as SOURCE, and it with --adapter"
    steps = sorted(folder.glob("checkpoint-*"), key=lambda path: (len(path.name), path.name))
    if not steps:
        return "is it a checkpoint folder?"
    return f"give one of the checkpoints in it ({', '.join(path.name for path in steps)})"


def _describes(path: Path, folder: Path) -> bool:
    """Whether a file helps define the checkpoint: configs, tokenizer and vocabulary, at most one subfolder deep."""
    relative = path.relative_to(folder)
    return path.is_file() and len(relative.parts) <= 2 and path.suffix in (".json", ".txt", ".model")


def _weights(folder: Path, allow_pickle: bool) -> list[Path]:
    """The weight files: safetensors, or pickles if they are allowed."""
    if (folder / _INDEX).exists():
        index = read_json(folder / _INDEX, "")
        shards = [folder / name for name in sorted(set(index["weight_map"].values()))]
    else:
        shards = [folder / "model.safetensors"]
    absent = [path.name for path in shards if not path.exists()]
    if not absent:
        for shard in shards:
            _check_safetensors(shard)
        return shards
    if len(absent) < len(shards):
        raise WeightsError(f"{folder} lacks the shards {', '.join(absent)}")
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if not pickles:
        raise WeightsError(f"{folder} holds no weights (model.safetensors)")
    if not allow_pickle:
        raise WeightsError(
            f"{folder} holds pickled weights only ({pickles[0].name}), and a pickle can run code when it is loaded:"
            " save the model again with save_pretrained, or give --allow-pickle if you trust its author"
        )
    return pickles


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (OSError, SafetensorError) as error:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise WeightsError(
                    f"{path} is a pointer of Git LFS, not the weights: fetch them with git lfs pull"
                ) from error
        raise WeightsError(f"{path} ({size:,} bytes) is corrupt or was cut short: {error}") from error


def _download(name: str, revision: str | None, patterns: list[str]) -> tuple[Path, str]:
    """A snapshot from the hub or its cache: the folder and the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise SourceError(f"{name!r} is neither a folder nor a hub id: {error}") from error
    except LocalEntryNotFoundError as error:
        raise SourceError(
            f"{name!r} is not a folder here, is not in the hub's cache, and the hub cannot be reached"
            f" ({str(error).splitlines()[0]})"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise SourceError(f"{name!r} cannot be fetched from the hub: {str(error).splitlines()[0]}") from error
    # the cache's folder is named after the commit
    return folder, folder.name
