"""Checks an adapter's files, alone and against the base's files, before PyTorch and peft are imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.wording import some
from ...errors import AdapterError
from ..source import PACKAGE, tensor_shapes

#: The prefix of every weight's name in an adapter's file; the rest is the weight's path in the model.
PREFIX = "base_model.model."
CONFIG = "adapter_config.json"
WEIGHTS, PICKLE = "adapter_model.safetensors", "adapter_model.bin"
Shapes = Mapping[str, tuple[int, ...]]

#: Adapter kinds that prepend tokens or keys, which are not part of any weight.
_VIRTUAL = frozenset(
    ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT", "CARTRIDGE")
)
#: Prefixes of `init_lora_weights` for initializations that subtract a part from the base's weights. That part cannot be
#: recomputed: it comes from a random search or from the training data.
_TAKEN_AWAY = ("pissa_niter", "corda")
#: Settings under which `lora_A` and `lora_B` do not span the whole of a weight.
_PARTIAL = ("use_qalora", "use_bdlora")
#: Files that a training run writes and that do not describe the model.
_OF_THE_TRAINING = frozenset(("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"))


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, as `PeftModel.save_pretrained` and Trainer write it."""
    return (folder / CONFIG).is_file()


def require_one(folder: Path, given: str) -> None:
    """Raises AdapterError for a folder that is not an adapter. The message lists the adapters in its subfolders, if any."""
    if is_adapter(folder):
        return
    if not folder.is_dir():
        hub = not folder.exists() and given.count("/") == 1 and not given.startswith((".", "~", "/", PACKAGE))
        fetch = f"; if it is on the hub, fetch it first: hf download {given} --local-dir FOLDER" if hub else ""
        raise AdapterError(f"there is no adapter's folder {given}{fetch}")
    inside = adapters_in(folder)
    if inside:
        raise AdapterError(
            f"{given} holds no {CONFIG}, and {len(inside)} adapters in its subfolders: {some(inside, 12)}. Give the one"
            f" that you mean, such as {folder / inside[-1]}"
        )
    raise AdapterError(f"{given} holds no {CONFIG}: is it an adapter's folder?")


def adapters_in(folder: Path) -> list[str]:
    """The subfolders that hold adapters, at most two levels deep, ordered by number. peft writes one for each adapter of a
    model, Trainer one for each checkpoint."""
    found = [path.parent.relative_to(folder) for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{CONFIG}")]
    return [path.as_posix() for path in sorted(found, key=lambda path: (len(path.parts), len(path.name), path))]


def files_of(folder: Path, weights: str) -> list[str]:
    """The files that define an adapter: its weights and all of its configs, including its tokenizer."""
    kinds = (".json", ".jinja", ".txt", ".model")
    described = {path.name for path in folder.iterdir() if path.is_file() and path.suffix in kinds} - _OF_THE_TRAINING
    if (folder / "modules.json").is_file():  # of sentence-transformers, each in a subfolder
        inside = (path for path in folder.glob("*/*") if path.is_file() and path.suffix in (*kinds, ".safetensors"))
        described |= {path.relative_to(folder).as_posix() for path in inside if not is_adapter(path.parent)}
    return sorted({weights, *described})


def check_config(folder: Path, config: Any) -> Mapping[str, Any]:
    """The content of adapter_config.json. Raises AdapterError if it is not valid, and for a kind that cannot be merged."""
    path = folder / CONFIG
    if not isinstance(config, dict):
        raise AdapterError(f"{path} does not hold a JSON object")
    kind, base = config.get("peft_type"), config.get("base_model_name_or_path")
    if not isinstance(kind, str):
        raise AdapterError(f"{path} names no peft_type (such as LORA): did peft write it?")
    if kind in _VIRTUAL:
        raise AdapterError(cannot_merge(folder, kind))
    if not isinstance(base, str | None):
        raise AdapterError(f"{path}: base_model_name_or_path must be a text, and is {base!r}")
    if config.get("megatron_config"):  # peft would import the module that `megatron_core` names
        raise AdapterError(f"{folder} was made for Megatron (megatron_config), whose layers cannot be merged here")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(_TAKEN_AWAY):
        raise AdapterError(
            f"{path}: init_lora_weights is {start!r}, for which the training took away a part of the base's weights that"
            " cannot be worked out again. Turn it into a plain LoRA: save_pretrained(...,"
            " path_initial_model_for_weight_conversion=THE_INITIAL_ADAPTER)"
        )
    return config


def cannot_merge(folder: Path, kind: str) -> str:
    return f"{folder} holds a {kind} adapter, which cannot be merged into a model's weights: train a LoRA instead"


def read_shapes(path: Path) -> Shapes:
    """Name -> shape of the tensors in a safetensors file, from its header. Raises AdapterError for a file without tensors, for
    a truncated file, and for a LoRA weight whose other half is missing."""
    from safetensors import SafetensorError

    try:
        shapes = tensor_shapes(path)
    except (OSError, SafetensorError) as error:
        first_line = str(error).strip().partition("\n")[0]
        size = path.stat().st_size
        raise AdapterError(f"{path} ({size:,} bytes) is corrupt or was cut short: {first_line}") from error
    if not shapes:
        raise AdapterError(f"{path} holds no weights")
    halves = (("lora_A.weight", "lora_B.weight"), ("lora_B.weight", "lora_A.weight"))
    absent = sorted(
        name.removesuffix(one) + other
        for name in shapes
        for one, other in halves
        if name.endswith(one) and name.removesuffix(one) + other not in shapes
    )
    if absent:
        raise AdapterError(lacks(path.parent, absent))
    empty = sorted(name for name, shape in shapes.items() if 0 in shape)
    if empty:
        raise AdapterError(
            f"{path} holds empty tensors: {some(empty)}. A sharded training (ZeRO 3, FSDP) has to gather them before"
            " save_pretrained"
        )
    return shapes


def lacks(folder: Path, absent: Sequence[str]) -> str:
    return f"the adapter in {folder} lacks weights that its config promises: {some(absent)}"


def require_shapes(folder: Path, config: Mapping[str, Any], shapes: Shapes, base: Shapes, given: str) -> None:
    """Checks that a LoRA's weights match the shapes of the base weights that they change, as far as names identify these.

    `base`: name -> shape of the base's tensors, with the names in its files; `given`: the base. Raises AdapterError.
    """
    if any(config.get(setting) for setting in _PARTIAL):
        return
    wrong = [
        f"{module}.lora_A and lora_B make [{made[0]}, {made[1]}], and the base's {name} is {list(base[name])}"
        for module, made in _products(shapes)
        for name in _named_in(base, module)
        if sorted(base[name]) != sorted(made)  # some layers keep their weights transposed
    ]
    if wrong:
        raise AdapterError(
            f"the adapter in {folder} does not fit the base {given}: {some(wrong, 2, '; ')}. It was trained on another one"
        )


def _products(shapes: Shapes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields (module, shape of what the LoRA adds to the module's weight), for linear layers."""
    for name, shape in shapes.items():
        other = shapes.get(name.replace(".lora_A.", ".lora_B."), ())
        if name.startswith(PREFIX) and name.endswith(".lora_A.weight") and len(shape) == len(other) == 2:
            yield name.removeprefix(PREFIX).removesuffix(".lora_A.weight"), (other[0], shape[1])


def _named_in(base: Shapes, module: str) -> list[str]:
    """The name of a module's weight in the base's files, in a list of at most one. The model's prefix may be missing from
    either of the two names."""
    ours = f"{module}.weight"
    exact = [name for name in (ours, ours.partition(".")[2]) if len(base.get(name, ())) == 2]
    return exact[:1] or [name for name, shape in base.items() if name.partition(".")[2] == ours and len(shape) == 2][:1]
