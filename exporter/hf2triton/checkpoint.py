"""source → checkpoint: the model in fp32, its tokenizer, and what its files say of its use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from .artifacts import Checkpoint, Pooling, Source, Tokenizer
from .errors import HeadMissing, SourceError, TokenizerMissing, UnsupportedArchitecture, WeightsError
from .families import FAMILIES, Family
from .source import read_json
from .tasks import TASKS, Task, find_task

#: Pooling modes as sentence-transformers writes them -> ours. Others cannot be exported.
_POOLING = {"mean": "mean", "cls": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def load_checkpoint(source: Source, task_name: str | None) -> Checkpoint:
    """Loads the model for a task (None: the one it was trained for) and its tokenizer.

    Remote code is never run. Raises SourceError and its kinds, and UnknownName for a task.
    """
    folder = source.model_folder
    family = _family(source)
    task = find_task(task_name) if task_name else _infer_task(source, family)
    _check_head(source, family, task)
    model = _load_model(folder, family, task, pickled=not any(name.endswith(".safetensors") for name in source.digests))
    tokenizer, tokenizer_limit = _load_tokenizer(folder)
    if task.joins_words and (tokenizer.decoder or {}).get("type") != "WordPiece":
        raise SourceError(f"{task.name} joins word pieces, and the tokenizer in {folder} does not make any")
    limits = [tokenizer_limit, getattr(model.config, family.max_positions)]
    pooling = None
    if task.name == "sentence-similarity":
        pooling = _pooling(source)
        limits.append(_sentence_limit(folder))
    return Checkpoint(
        source=source,
        family=family,
        task=task,
        model=model,
        tokenizer=tokenizer,
        max_length=min(limit for limit in limits if limit),
        pooling=pooling,
        id2label=dict(model.config.id2label) if task.has_head else {},
        problem_type=getattr(model.config, "problem_type", None),
    )


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


def _infer_task(source: Source, family: Family) -> Task:
    """The task of a checkpoint by its folder layout (sentence-transformers) or by its architecture."""
    if "Pooling" in source.modules:
        return TASKS["sentence-similarity"]
    architecture = (source.config.get("architectures") or [None])[0]
    if architecture not in family.architectures:
        raise UnsupportedArchitecture(
            f"{source.given} was trained as {architecture}, whose task is not served; for {family.name} these are:"
            f" {', '.join(family.architectures)}. Give --task to use another head"
        )
    return TASKS[family.architectures[architecture]]


def _check_head(source: Source, family: Family, task: Task) -> None:
    """Heads of different tasks can have weights of the same names and shapes, so that loading alone would not tell."""
    architecture = (source.config.get("architectures") or [None])[0]
    trained_for = family.architectures.get(architecture)
    if task.has_head and trained_for not in (None, task.name):
        raise HeadMissing(
            f"{source.given} was trained for {trained_for} ({architecture}); it has no trained head for {task.name}"
        )


def _load_model(folder: Path, family: Family, task: Task, pickled: bool) -> Any:
    import torch
    from optimum.exporters.tasks import TasksManager
    from safetensors import SafetensorError
    from transformers.utils import logging as hf_logging

    auto_class = TasksManager.get_model_class_for_task(task.name, model_type=family.name)
    arguments = {} if task.has_head else dict(family.base_arguments)
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        model, info = auto_class.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickled,
            weights_only=True,
            output_loading_info=True,
            **arguments,
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, UnpicklingError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise WeightsError(f"the weights in {folder} do not load as a {family.name} model: {first_line}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise HeadMissing(
            f"{folder} has no trained weights for {task.name}: {', '.join(missing[:4])}"
            f"{' …' if len(missing) > 4 else ''} would be random"
        )
    return model.eval().requires_grad_(False)


def _load_tokenizer(folder: Path) -> tuple[Tokenizer, int | None]:
    """The tokenizer, and the longest sequence it was made for."""
    from transformers import AutoTokenizer

    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt")):
        raise TokenizerMissing(f"{folder} has no tokenizer (tokenizer.json or vocab.txt): save it beside the model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        definition = json.loads(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # tokenizers raises plain Exception
        raise TokenizerMissing(f"the tokenizer in {folder} does not load: {error}") from error
    if tokenizer.pad_token_id is None:
        raise TokenizerMissing(f"the tokenizer in {folder} has no padding token")
    definition |= {"truncation": None, "padding": None}
    limit = tokenizer.model_max_length
    return (
        Tokenizer(
            json.dumps(definition, ensure_ascii=False),
            tokenizer.pad_token_id,
            tokenizer.unk_token,
            definition.get("decoder"),
        ),
        limit if limit < 1 << 30 else None,  # transformers writes 1e30 for "no limit"
    )


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
