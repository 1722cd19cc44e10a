"""Finds adapters that peft wrote (LoRA and its relatives), and the base that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.digests import digest_of
from ...core.json_files import read_json
from ...core.options import ExportOptions
from ...core.source import Source
from ...core.wording import some
from ...errors import AdapterError, SourceError
from ..sentence_folder import read_modules
from ..source import find_source, folder_of, weight_shapes
from ..tokenizer_files import has_tokenizer
from .files import (
    CONFIG,
    PICKLE,
    PREFIX,
    WEIGHTS,
    Shapes,
    adapters_in,
    cannot_merge,
    check_config,
    files_of,
    is_adapter,
    read_shapes,
    require_one,
    require_shapes,
)

if TYPE_CHECKING:
    import torch

_HEADS = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
#: Files that show that an adapter's folder also holds an image processor or a generation config.
_PROCESSOR, _GENERATION = ("preprocessor_config.json", "processor_config.json"), "generation_config.json"


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder. `config`: its adapter_config.json. `base`: the model it was trained on, as the config names it.

    `weights`: the file with its weights. `shapes`: weight name -> shape; None for a pickle, which is opened only when it is
    loaded. `digests`: file -> sha256, for all of its files. `base_name`: the user's name for the given base. `names_base`: the
    base is taken from the adapter's config.
    """

    folder: Path
    config: Mapping[str, Any]
    base: str | None
    weights: str
    digests: Mapping[str, str]
    shapes: Shapes | None = None
    base_name: str | None = None
    names_base: bool = False

    @property
    def task_type(self) -> str | None:
        """The task it was trained for, in peft's terms (`SEQ_CLS`, `TOKEN_CLS`, `CAUSAL_LM` …), if recorded."""
        return self.config.get("task_type")

    @property
    def architecture(self) -> str | None:
        """The class of the model it was trained on; peft writes it only without a `task_type`."""
        return (self.config.get("auto_mapping") or {}).get("base_model_class")

    @property
    def has_tokenizer(self) -> bool:
        """Whether its folder holds the tokenizer that it was trained with."""
        return has_tokenizer(self.folder)


def read_base_and_adapter(options: ExportOptions) -> tuple[str, Adapter | None]:
    """The source of the base, and the adapter if one is given: as an option, or as the source itself, whose config then names
    the base. Reads only files: importing peft and PyTorch takes seconds. Raises SourceError and its kinds."""
    folder = folder_of(options.source)
    if options.adapter is not None:
        if is_adapter(folder):
            raise AdapterError(f"{options.source} is an adapter itself; give its base as SOURCE, or no --adapter")
        adapter = read_adapter(folder_of(options.adapter), options.allow_pickle)
        return options.source, replace(adapter, base_name=options.base_name)
    if not is_adapter(folder):
        if not any((folder / name).exists() for name in ("config.json", "modules.json")) and adapters_in(folder):
            require_one(folder, options.source)
        return options.source, None
    adapter = read_adapter(folder, options.allow_pickle)
    if adapter.base is None:
        raise AdapterError(
            f"{folder / CONFIG} names no base (base_model_name_or_path): give the base as SOURCE, and the adapter with"
            f" --adapter {options.source}"
        )
    return adapter.base, replace(adapter, names_base=True)


def find_base(
    base: str,
    adapter: Adapter | None,
    options: ExportOptions,
    find: Callable[[str, str | None, bool], Source] = find_source,
) -> Source:
    """The source of a model or of an adapter's base. Files in the adapter's folder replace the base's.

    A base that the adapter's config names has the revision that the config names. `find`: finds the files. Raises what `find`
    raises; if the base comes from the adapter's config, the error says so, and how to give another.
    """
    if adapter is None:
        return find(base, options.revision, options.allow_pickle)
    revision = options.revision or (adapter.config.get("revision") if adapter.names_base else None)
    try:
        source = find(base, revision, options.allow_pickle)
    except SourceError as error:
        if not adapter.names_base:
            raise
        raise type(error)(
            f"{error}. {base} is the base that {adapter.folder / CONFIG} names (base_model_name_or_path). If it lies"
            f" elsewhere, give its folder as SOURCE, and the adapter with --adapter {adapter.folder}; where that folder has"
            f" another name, add --base-name {base}"
        ) from error
    return with_files_of(adapter, source)


def with_files_of(adapter: Adapter, source: Source) -> Source:
    """The base's source, with the tokenizer, image processor, generation config and sentence-transformers modules of the
    adapter's folder, as far as it has them: the adapter was trained with these."""
    folder, elsewhere = adapter.folder, {}
    if adapter.has_tokenizer:
        elsewhere["tokenizer"] = folder
    if any((folder / name).is_file() for name in _PROCESSOR):
        elsewhere["processor"] = folder
    if (folder / _GENERATION).is_file():
        elsewhere["generation"] = folder
    if read_modules(folder):
        elsewhere["sentences"] = folder
    return replace(source, elsewhere=elsewhere)


def find_adapter(folder: Path, allow_pickle: bool = False) -> Adapter:
    """The adapter in a folder, with its files checked. Raises AdapterError, also for a kind that cannot be merged."""
    return require_sound(read_adapter(folder, allow_pickle))


def read_adapter(folder: Path, allow_pickle: bool = False) -> Adapter:
    """The adapter in a folder, with the digests of its files. Raises AdapterError if a file is missing or its header shows that
    it cannot be used."""
    require_one(folder, str(folder))
    config = check_config(folder, read_json(folder / CONFIG, ""))
    weights = WEIGHTS
    if not (folder / WEIGHTS).is_file():
        if not (folder / PICKLE).is_file():
            raise AdapterError(f"{folder} holds no weights ({WEIGHTS})")
        if not allow_pickle:
            raise AdapterError(
                f"{folder} holds pickled weights only ({PICKLE}), and a pickle can run code when it is loaded: save"
                " the adapter again with save_pretrained, or give --allow-pickle if you trust its author"
            )
        weights = PICKLE
    shapes = read_shapes(folder / weights) if weights == WEIGHTS else None
    digests = {name: digest_of(folder / name) for name in files_of(folder, weights)}
    return Adapter(folder, config, config.get("base_model_name_or_path") or None, weights, digests, shapes)


def require_base(adapter: Adapter, given: str, config: Mapping[str, Any]) -> None:
    """Checks that the base is the one that the adapter names. An adapter that names none fits any base.

    `given`: the folder or hub id of the base; `config`: its config.json. Compares the last components of paths and ids, ignoring
    case, because the same model lies in different folders on different machines. Raises AdapterError.
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


def require_fit(adapter: Adapter, source: Source) -> None:
    """Checks that the adapter's weights match the shapes of the base weights that they change, as far as the headers of the
    files tell. Raises AdapterError."""
    if adapter.shapes is None:
        return
    tokens = source.config.get("vocab_size")  # tables that the adapter may have resized
    base = {name: shape for name, shape in weight_shapes(source).items() if tokens not in shape}
    require_shapes(adapter.folder, adapter.config, adapter.shapes, base, source.given)


def head_settings(adapter: Adapter) -> dict[str, Any]:
    """The settings to load the base with so that the adapter's head fits; empty if the adapter has no head.

    `num_labels` is the number of rows of the saved head. `id2label`, `label2id` and `problem_type` come from a config.json
    beside the adapter, if there is one. Raises AdapterError if they disagree.
    """
    shapes = shapes_of(adapter)
    labels = next((shapes[PREFIX + name][0] for name in _HEADS if PREFIX + name in shapes), None)
    if labels is None:
        return {}
    settings: dict[str, Any] = {"num_labels": labels}
    path = adapter.folder / "config.json"
    if not path.is_file():
        return settings
    config = read_json(path, "")
    if config.get("id2label"):
        id2label = {int(number): label for number, label in config["id2label"].items()}
        if len(id2label) != labels:
            raise AdapterError(f"{path} names {len(id2label)} labels, and the adapter's head has {labels}")
        settings |= {"id2label": id2label, "label2id": {label: number for number, label in id2label.items()}}
    if config.get("problem_type"):
        settings["problem_type"] = config["problem_type"]
    return settings


def shapes_of(adapter: Adapter) -> Shapes:
    """Name -> shape of the adapter's weights. Raises AdapterError."""
    if adapter.shapes is not None:
        return adapter.shapes
    return {name: tuple(tensor.shape) for name, tensor in load_weights(adapter).items()}


def load_weights(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Name in the file -> tensor, for all weights of the adapter. Only tensors are unpickled. Raises AdapterError."""
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = adapter.folder / adapter.weights
    try:
        pickled = adapter.weights == PICKLE
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
    """Raises AdapterError unless peft knows the adapter as one inside a model's layers: only these can be merged."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    kind = config["peft_type"]
    if kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        known = ", ".join(sorted(str(known.value) for known in PEFT_TYPE_TO_CONFIG_MAPPING))
        raise AdapterError(f"{folder / CONFIG}: the peft_type {kind!r} is unknown; known are {known}")
    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(kind)
    if not (isinstance(tuner, type) and issubclass(tuner, BaseTuner)):
        raise AdapterError(cannot_merge(folder, kind))


def _model_names(name: str) -> set[str]:
    """The names of a model's folder or hub id to compare: its last component, in lower case."""
    cached = re.search(r"models--([^/\\]+)[/\\]snapshots", name)
    if cached:
        name = cached[1].replace("--", "/")
    path = Path(name.replace("\\", "/")).expanduser()
    return {part.lower() for part in (path.name, path.resolve().name if path.is_dir() else "") if part}
