"""Fits the module names in an adapter's files to those of a model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .files import PREFIX

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

#: Pairs (pattern, replacement) for re.sub. Applied in order to a module's path, they return the name that transformers 4 used.
#: In this direction every module has exactly one old name, and peft's rules for `target_modules` (names, a regular expression
#: or layer numbers) can be applied to it.
RenamedModules = Sequence[tuple[str, str]]


def fit_names(
    model: torch.nn.Module, config: PeftConfig, weights: dict[str, torch.Tensor], renamed_modules: RenamedModules
) -> tuple[PeftConfig, dict[str, torch.Tensor], bool]:
    """The config and the weights with this model's names, and whether the names changed.

    An adapter may name the modules as the model does or as transformers 4 did, and either with the prefix that a headless model
    lacks. The naming that places the most weights is used, the first on a tie.
    """
    paths = [path for path, _ in model.named_modules() if path]
    namings = [{path: path for path in paths}, {_old_name(path, renamed_modules): path for path in paths}]
    prefix = getattr(model, "base_model_prefix", "")
    if prefix and prefix not in paths:
        namings += [{f"{prefix}.{old}": path for old, path in naming.items()} for naming in namings]
    naming = max(namings, key=lambda naming: sum(depth_of(name, naming) for name in weights))
    if naming is namings[0]:
        return config, weights, False
    return _renamed_config(config, naming), {_renamed(name, naming): tensor for name, tensor in weights.items()}, True


def depth_of(name: str, modules: Collection[str]) -> int:
    """How many leading components of a weight's name, without the prefix, form the path of a known module."""
    parts = name.removeprefix(PREFIX).split(".")
    return next((depth for depth in range(len(parts), 0, -1) if ".".join(parts[:depth]) in modules), 0)


def _old_name(path: str, renamed_modules: RenamedModules) -> str:
    for pattern, replacement in renamed_modules:
        path = re.sub(pattern, replacement, path)
    return path


def _renamed(name: str, naming: Mapping[str, str]) -> str:
    """A weight's name in an adapter's file, translated to the model's names; unchanged if it names none of the modules."""
    parts = name.removeprefix(PREFIX).split(".")
    depth = depth_of(name, naming)
    prefix = PREFIX if name.startswith(PREFIX) else ""
    return prefix + ".".join([naming[".".join(parts[:depth])], *parts[depth:]]) if depth else name


def _renamed_config(config: PeftConfig, naming: Mapping[str, str]) -> PeftConfig:
    """The config with every choice of modules spelled out as paths of the model. `naming`: old path -> path."""
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    changes: dict[str, Any] = {}
    if getattr(config, "target_modules", None):
        changes["target_modules"] = {new for old, new in naming.items() if check_target_module_exists(config, old)}
        # already applied above
        changes |= {"exclude_modules": None, "layers_to_transform": None, "layers_pattern": None}
    for field in ("modules_to_save", "feedforward_modules"):
        if chosen := getattr(config, field, None):
            changes[field] = [new for old, new in naming.items() if _chooses(chosen, old)]
    for field in ("rank_pattern", "alpha_pattern"):
        if pattern := getattr(config, field, None):
            keys = {new: get_pattern_key(pattern.keys(), old) for old, new in naming.items()}
            by_path = {re.escape(new): pattern[key] for new, key in keys.items() if key in pattern}
            # AdaLoRA's keys are weight names
            changes[field] = by_path or {_renamed(key, naming): value for key, value in pattern.items()}
    for field, value in changes.items():
        if hasattr(config, field):
            setattr(config, field, value)
    return config


def _chooses(chosen: str | Collection[str], path: str) -> bool:
    """Whether a config's choice of modules, a regular expression or a list of endings, includes a module. As in peft, an ending
    need not be a whole name: `classifier` also matches `pre_classifier`."""
    if isinstance(chosen, str):
        return re.fullmatch(chosen, path) is not None
    return path.endswith(tuple(chosen))
