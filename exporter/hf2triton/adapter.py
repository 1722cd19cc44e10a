"""Adapters that peft wrote (LoRA and its relatives): found, and checked against the base they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import ExportOptions
from .errors import AdapterError
from .source import digest_of, folder_of, read_json
from .wording import some

if TYPE_CHECKING:
    import torch

#: What the name of each weight in an adapter's file begins with; the rest is its path in the model.
PREFIX = "base_model.model."
CONFIG = "adapter_config.json"
_WEIGHTS, _PICKLE = "adapter_model.safetensors", "adapter_model.bin"
_HEADS = ("classifier.weight", "score.weight")


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder. `config`: its adapter_config.json. `base`: the model it was trained on, as it names it.

    `weights`: the file with its weights. `digests`: file -> sha256 of all that it consists of. `base_name`: what the user
    says that the base given is called.
    """

    folder: Path
    config: Mapping[str, Any]
    base: str | None
    weights: str
    digests: Mapping[str, str]
    base_name: str | None = None

    @property
    def task_type(self) -> str | None:
        """What it was trained for, in peft's words (`SEQ_CLS`, `TOKEN_CLS`, `CAUSAL_LM` …), if it says so."""
        return self.config.get("task_type")

    @property
    def architecture(self) -> str | None:
        """The class of the model it was trained on; peft writes it only where there is no `task_type`."""
        return (self.config.get("auto_mapping") or {}).get("base_model_class")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, as `PeftModel.save_pretrained` and Trainer write it."""
    return (folder / CONFIG).is_file()


def find_base_and_adapter(options: ExportOptions) -> tuple[str, Adapter | None]:
    """The source of the base, and the adapter if one was given, as an option or as the source itself: its config then names
    the base. Raises SourceError and its kinds."""
    base, adapter = read_base_and_adapter(options)
    if adapter is not None:
        require_sound(adapter)
    return base, adapter


def read_base_and_adapter(options: ExportOptions) -> tuple[str, Adapter | None]:
    """The same, of the files alone: without peft and PyTorch, whose import takes seconds."""
    folder = folder_of(options.source)
    if options.adapter is not None:
        if is_adapter(folder):
            raise AdapterError(f"{options.source} is an adapter itself; give its base as SOURCE, or no --adapter")
        adapter = read_adapter(folder_of(options.adapter), options.allow_pickle)
        return options.source, replace(adapter, base_name=options.base_name)
    if not is_adapter(folder):
        return options.source, None
    adapter = read_adapter(folder, options.allow_pickle)
    if adapter.base is None:
        raise AdapterError(f"{folder / CONFIG} names no base: give the base as SOURCE, and the adapter with --adapter")
    return adapter.base, adapter


def find_adapter(folder: Path, allow_pickle: bool = False) -> Adapter:
    """The adapter in a folder, its files checked. Raises AdapterError, also for a kind that cannot be merged."""
    return require_sound(read_adapter(folder, allow_pickle))


def read_adapter(folder: Path, allow_pickle: bool = False) -> Adapter:
    """The adapter in a folder, with the digests of its files. Raises AdapterError where one is missing."""
    config = read_json(folder / CONFIG, f"{folder} holds no {CONFIG}: is it an adapter's folder?")
    if not isinstance(config, dict):
        raise AdapterError(f"{folder / CONFIG} holds no JSON object")
    weights = _WEIGHTS
    if not (folder / _WEIGHTS).is_file():
        if not (folder / _PICKLE).is_file():
            raise AdapterError(f"{folder} holds no weights ({_WEIGHTS})")
        if not allow_pickle:
            raise AdapterError(
                f"{folder} holds pickled weights only ({_PICKLE}), and a pickle can run code when it is loaded: save"
                " the adapter again with save_pretrained, or give --allow-pickle if you trust its author"
            )
        weights = _PICKLE
    files = [name for name in (CONFIG, weights, "config.json") if (folder / name).is_file()]
    digests = {name: digest_of(folder / name) for name in files}
    return Adapter(folder, config, config.get("base_model_name_or_path") or None, weights, digests)


def require_base(adapter: Adapter, given: str, config: Mapping[str, Any]) -> None:
    """The base must be the one that the adapter names; an adapter that names none fits any.

    `given`: the folder or hub id of the base; `config`: its config.json. Last components of paths and ids are compared,
    whatever their case, for the same model lies in different folders on different machines. Raises AdapterError.
    """
    if adapter.base is None:
        return
    known = {
        name for own in (given, config.get("_name_or_path"), adapter.base_name) for name in _model_names(own or "")
    }
    if not known & _model_names(adapter.base):
        raise AdapterError(
            f"the adapter in {adapter.folder} was trained on {adapter.base}, and the base given is {given}: give"
            f" {adapter.base}, or, if they are the same model, --base-name {adapter.base}"
        )


def head_settings(adapter: Adapter) -> dict[str, Any]:
    """What the base must be loaded with so that the adapter's own head fits: empty where it brings none.

    `num_labels` is the height of the saved head; `id2label`, `label2id` and `problem_type` are taken from a config.json
    beside the adapter, if there is one. Raises AdapterError where they disagree.
    """
    weights = load_weights(adapter)
    head = next((weights[PREFIX + name] for name in _HEADS if PREFIX + name in weights), None)
    if head is None:
        return {}
    settings: dict[str, Any] = {"num_labels": head.shape[0]}
    path = adapter.folder / "config.json"
    if not path.is_file():
        return settings
    config = read_json(path, "")
    if config.get("id2label"):
        id2label = {int(number): label for number, label in config["id2label"].items()}
        if len(id2label) != head.shape[0]:
            raise AdapterError(f"{path} names {len(id2label)} labels, and the adapter's head has {head.shape[0]}")
        settings |= {"id2label": id2label, "label2id": {label: number for number, label in id2label.items()}}
    if config.get("problem_type"):
        settings["problem_type"] = config["problem_type"]
    return settings


def load_weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The adapter's weights by their names in the file. Only tensors are unpickled."""
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = adapter.folder / adapter.weights
    try:
        pickled = adapter.weights == _PICKLE
        weights = torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        size, first_line = path.stat().st_size, str(error).strip().partition("\n")[0]
        raise AdapterError(f"{path} ({size:,} bytes) is corrupt or was cut short: {first_line}") from error
    if not isinstance(weights, dict) or not weights:
        raise AdapterError(f"{path} holds no weights")
    broken = sorted(name for name, tensor in weights.items() if not torch.isfinite(tensor).all())
    if broken:
        raise AdapterError(f"{path} holds values that are not finite, in {some(broken)}: did the training diverge?")
    return weights


def require_sound(adapter: Adapter) -> Adapter:
    """The adapter, if it can be merged and its weights can be read. Raises AdapterError."""
    _require_mergeable(adapter.folder, adapter.config)
    load_weights(adapter)
    return adapter


def _require_mergeable(folder: Path, config: Mapping[str, Any]) -> None:
    """Only adapters that live in a model's layers can be merged, not virtual tokens or layers of their own."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    kind = config.get("peft_type")
    if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        known = ", ".join(sorted(str(known.value) for known in PEFT_TYPE_TO_CONFIG_MAPPING))
        raise AdapterError(f"{folder / CONFIG}: the peft_type {kind!r} is unknown; known are {known}")
    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(kind)
    if not (isinstance(tuner, type) and issubclass(tuner, BaseTuner)):
        raise AdapterError(
            f"{folder} holds a {kind} adapter, which cannot be merged into a model's weights: train a LoRA instead"
        )
    if config.get("megatron_config"):  # peft would import the module that `megatron_core` names
        raise AdapterError(f"{folder} was made for Megatron (megatron_config), whose layers cannot be merged here")


def _model_names(name: str) -> set[str]:
    """What a model's folder or hub id may be called: its last component, in lower case."""
    cached = re.search(r"models--([^/\\]+)[/\\]snapshots", name)
    if cached:
        name = cached[1].replace("--", "/")
    path = Path(name.replace("\\", "/")).expanduser()
    return {part.lower() for part in (path.name, path.resolve().name if path.is_dir() else "") if part}
