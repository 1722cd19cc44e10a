"""source → checkpoint: the model in fp32, its tokenizer, and what its files say of its use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from .adapter import Adapter, head_settings, require_base
from .artifacts import Checkpoint, Pooling, Source, Tokenizer
from .errors import HeadMissing, SourceError, UnsupportedArchitecture, UsageError, WeightsError
from .families import FAMILIES, Family
from .source import read_json, weight_names
from .tasks import TASKS, Task, find_task
from .tokenizer import load_tokenizer, makes_word_pieces, require_streaming

#: Pooling modes as sentence-transformers writes them -> ours. Others cannot be exported.
_POOLING = {"mean": "mean", "cls": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
#: What peft calls the tasks that adapters are trained for -> ours.
_ADAPTER_TASKS = {
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
    "QUESTION_ANS": "question-answering",
    "CAUSAL_LM": "text-generation",
}


def load_checkpoint(
    source: Source, task_name: str | None, adapter: Adapter | None = None, labels: Sequence[str] | None = None
) -> Checkpoint:
    """Loads the model for a task (None: the one it was trained for), its tokenizer and its image processor.

    With an adapter that is to be merged, the task is the one that it was trained for, and its head may be random until
    then. `labels` take the place of the head's own. Remote code is never run. Raises SourceError and its kinds, UnknownName
    for a task, and UsageError for labels that do not fit.
    """
    family = _family(source)
    if adapter is not None:
        require_base(adapter, source.given, source.config)
    task = task_of(source, task_name, adapter)
    if task.generates:
        _check_generation(source)
    model, missing = _load_model(source, family, task, adapter)
    modalities = {part.modality for part in task.parts}
    pooling = _pooling(source) if task.name == "sentence-similarity" else None
    tokenizer, max_length = _text_side(source, family, task, model.config) if "text" in modalities else (None, None)
    optional = _has_pooler(source, family)
    scale = getattr(model, family.logit_scale) if family.logit_scale else None
    return Checkpoint(
        source=source,
        family=family,
        task=task,
        model=model,
        tokenizer=tokenizer,
        max_length=max_length,
        image=_image_side(source, family, model.config) if "image" in modalities else None,
        outputs={
            part.suffix: tuple(out for out in part.outputs if optional or not out.optional) for part in task.parts
        },
        pooling=pooling,
        id2label=_labels(source, task, model.config, labels),
        problem_type=getattr(model.config, "problem_type", None),
        generation=_generation(source, model) if task.generates else None,
        logit_scale=None if scale is None else float(scale.exp()),
        missing=missing,
    )


def task_of(source: Source, task_name: str | None, adapter: Adapter | None = None) -> Task:
    """The task of that name, or else the one that the checkpoint was trained for. Raises UnsupportedArchitecture, UnknownName,
    and UsageError or HeadMissing for a task that the checkpoint does not serve."""
    family = _family(source)
    task = find_task(task_name) if task_name else _infer_task(source, family, adapter)
    _check_task(source, family, task, adapter)
    return task


def without_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without its model, whose memory is given back, whoever still refers to its parameters."""
    import torch

    for parameter in checkpoint.model.parameters():
        parameter.data = torch.empty(0)
    return replace(checkpoint, model=None)


def _family(source: Source) -> Family:
    model_type = source.config.get("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedArchitecture(
            f"{source.given} is a {model_type or 'model without model_type'}; supported are {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def _infer_task(source: Source, family: Family, adapter: Adapter | None) -> Task:
    """The task of a checkpoint by its adapter, its folder layout (sentence-transformers) or its architecture."""
    if adapter is not None and adapter.task_type in _ADAPTER_TASKS:
        return TASKS[_ADAPTER_TASKS[adapter.task_type]]
    if "Pooling" in source.modules:
        return TASKS["sentence-similarity"]
    architecture = (adapter.architecture if adapter else None) or (source.config.get("architectures") or [None])[0]
    if architecture not in family.architectures:
        raise UnsupportedArchitecture(
            f"{source.given} was trained as {architecture}, whose task is not served; for {family.name} these are:"
            f" {', '.join(family.architectures)}. Give --task to use another head"
        )
    return TASKS[family.architectures[architecture][0]]


def _check_task(source: Source, family: Family, task: Task, adapter: Adapter | None) -> None:
    """Heads of different tasks can have weights of the same names and shapes, so that loading alone would not tell."""
    if task.name not in family.tasks:
        raise UsageError(f"{family.name} models do not serve {task.name}; they serve {', '.join(family.tasks)}")
    architecture = (source.config.get("architectures") or [None])[0]
    trained_for = family.architectures.get(architecture, (task.name,))
    if task.has_head and task.name not in trained_for and adapter is None:
        raise HeadMissing(
            f"{source.given} was trained for {trained_for[0]} ({architecture}); it has no trained head for {task.name}"
        )


def _load_model(source: Source, family: Family, task: Task, adapter: Adapter | None) -> tuple[Any, frozenset[str]]:
    """The model, and the parameters that are random because an adapter will bring them."""
    import torch
    from optimum.exporters.tasks import TasksManager
    from safetensors import SafetensorError
    from transformers.utils import logging as hf_logging

    folder = source.model_folder
    auto_class = TasksManager.get_model_class_for_task(task.class_of or task.name, model_type=family.name)
    arguments = {} if task.has_head else dict(family.base_arguments)
    if family.pooler and not task.has_head:
        arguments["add_pooling_layer"] = _has_pooler(source, family)
    if adapter is not None and task.has_head:
        arguments |= head_settings(adapter)
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        model, info = auto_class.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not source.pickled,
            weights_only=True,
            output_loading_info=True,
            **arguments,
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, UnpicklingError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise WeightsError(f"the weights in {folder} do not load as a {family.name} model: {first_line}") from error
    missing = sorted(info["missing_keys"])
    if missing and adapter is None:
        raise HeadMissing(
            f"{folder} has no trained weights for {task.name}: {', '.join(missing[:4])}"
            f"{' …' if len(missing) > 4 else ''} would be random"
        )
    return model.eval().requires_grad_(False), frozenset(missing)


def _has_pooler(source: Source, family: Family) -> bool:
    """Whether the checkpoint brings the weights of the family's pooling layer."""
    if family.pooler is None:
        return False
    return any(f".{family.pooler}" in f".{name}" for name in weight_names(source))


def _labels(source: Source, task: Task, config: Any, given: Sequence[str] | None) -> dict[int, str]:
    """The head's labels, or those `given` in their place. Raises UsageError where they do not fit, and HeadMissing where the
    task needs one that is not there."""
    has_logits = any(output.name == "logits" for part in task.parts for output in part.outputs)
    named = task.has_head and has_logits and task.name != "fill-mask" and not task.generates
    labels = dict(config.id2label) if named else {}
    if given is not None:
        if len(given) != len(labels):
            has = f"head has {len(labels)}" if named else f"task, {task.name}, has none"
            raise UsageError(f"{len(given)} labels are given ({', '.join(given)}), and the {has}")
        labels = dict(enumerate(given))
    wanted = task.needs_label
    if wanted and not any(label.lower().startswith(wanted[:6]) for label in labels.values()):
        raise HeadMissing(f"{task.name} needs a label {wanted!r}; {source.given} has {', '.join(labels.values())}")
    return labels


def _text_side(source: Source, family: Family, task: Task, config: Any) -> tuple[Tokenizer, int]:
    """The tokenizer, and the most tokens of one row."""
    folder = source.model_folder
    tokenizer, limit = load_tokenizer(folder, pads=not task.generates)
    if task.joins_words and not makes_word_pieces(json.loads(tokenizer.definition)):
        raise SourceError(f"{task.name} joins word pieces, and the tokenizer in {folder} does not make any")
    if tokenizer.mask_token is None and any(part.reader == "masked-text" for part in task.parts):
        raise SourceError(f"{task.name} needs a mask token, and the tokenizer in {folder} has none")
    positions = getattr(_config_of(config, family, "text"), family.max_positions)
    if task.generates:
        require_streaming(tokenizer, folder)
        return tokenizer, positions  # new tokens count as well, of which a tokenizer's limit says nothing
    limits = [limit, positions]
    if task.name == "sentence-similarity":
        limits.append(_sentence_limit(folder))
    return tokenizer, min(limit for limit in limits if limit)


def _image_side(source: Source, family: Family, config: Any) -> dict[str, Any]:
    """How images are prepared (`spec`), the graph's input (`shape`), and the tokens that the model makes of one."""
    from .image_processor import read_image_spec

    config = _config_of(config, family, "image")
    size, patch = config.image_size, config.patch_size
    return {
        "spec": read_image_spec(source.model_folder, size),
        "shape": (config.num_channels, size, size),
        "tokens": (size // patch) ** 2 + 1,
    }


def _check_generation(source: Source) -> None:
    """Reads generation_config.json before transformers does, which passes over what it cannot read. Raises SourceError."""
    path = source.model_folder / "generation_config.json"
    if path.exists():
        config = read_json(path, "")
        if not isinstance(config, dict):
            raise SourceError(f"{path} holds no JSON object")
        _require_supported(config, path)


def _generation(source: Source, model: Any) -> dict[str, Any]:
    """What the generation config sets, or where there is none, the model's own config. Raises SourceError."""
    config = {name: value for name, value in model.generation_config.to_dict().items() if value is not None}
    _require_supported(config, source.given)
    return config


def _require_supported(config: Mapping[str, Any], where: object) -> None:
    """Raises SourceError for settings that cannot be served, such as beams, and for bad values."""
    from .repository.fronts.generation.settings import Settings

    try:
        Settings.of_checkpoint(config)
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error


def _config_of(config: Any, family: Family, modality: str) -> Any:
    return getattr(config, family.configs[modality]) if modality in family.configs else config


def _pooling(source: Source) -> Pooling:
    """How the folder's Pooling module pools; without one the mean, as sentence-transformers does for plain models."""
    if "Pooling" not in source.modules:
        return Pooling("mean", normalize=False)
    path = source.folder / source.modules["Pooling"] / "config.json"
    config = read_json(path, f"{path} is missing, which says how the model pools")
    # sentence-transformers 6 writes one key, earlier ones a flag for each mode
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    asked = config.get("pooling_mode") or (flags[0] if len(flags) == 1 else flags)
    mode = _POOLING.get(str(asked))
    if mode is None:
        raise SourceError(f"{path} asks for the pooling {asked}; exported can be mean or cls")
    return Pooling(mode, "Normalize" in source.modules)


def _sentence_limit(folder: Path) -> int | None:
    """`max_seq_length` of a sentence-transformers folder."""
    path = folder / "sentence_bert_config.json"
    return read_json(path, "").get("max_seq_length") if path.exists() else None
