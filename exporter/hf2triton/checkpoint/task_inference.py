"""Determines a checkpoint's task: the requested task, or the task that its files say it was trained for."""

from __future__ import annotations

from ..core.source import Source
from ..errors import AdapterError, HeadMissing, UnsupportedArchitecture, UsageError
from ..families import FAMILIES, Family
from ..tasks import TASKS, find_task
from ..tasks.base import Task
from .adapters.source import Adapter
from .cross_encoder import is_cross_encoder
from .sentence_folder import task_of_folder

#: peft's name of the task that an adapter is trained for -> our name.
_ADAPTER_TASKS = {task.adapter_type: task.name for task in TASKS.values() if task.adapter_type is not None}


def task_of(source: Source, task_name: str | None, adapter: Adapter | None = None) -> Task:
    """The task of that name; without a name, the task that the checkpoint was trained for. Raises UnsupportedArchitecture,
    UnknownName, and UsageError or HeadMissing for a task that the checkpoint does not serve."""
    family = family_of(source)
    task = find_task(task_name) if task_name else _infer_task(source, family, adapter)
    _check_task(source, family, task, adapter)
    return task


def family_of(source: Source) -> Family:
    """The family of a source, by its `model_type`. Raises UnsupportedArchitecture."""
    model_type = source.config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnsupportedArchitecture(
            f"{source.given} is a {model_type or 'model without model_type'}; supported are {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def _infer_task(source: Source, family: Family, adapter: Adapter | None) -> Task:
    """The task of a checkpoint, inferred from its adapter, the files of sentence-transformers or its architecture."""
    if adapter is not None and adapter.task_type in _ADAPTER_TASKS:
        return TASKS[_ADAPTER_TASKS[adapter.task_type]]
    if is_cross_encoder(source):
        return TASKS["rerank"]
    if source.sentence_folder is not None:
        return TASKS[task_of_folder(source.sentence_folder)]
    architecture = (adapter.architecture if adapter else None) or _architecture(source)
    if architecture is None:
        raise UnsupportedArchitecture(
            f"{source.model_folder / 'config.json'} has no architectures, which say what the model was trained for: give"
            f" --task, one of {', '.join(family.tasks)}"
        )
    if architecture not in family.architectures:
        raise UnsupportedArchitecture(
            f"{source.given} was trained as {architecture}, whose task is not served; for {family.name} these are:"
            f" {', '.join(family.architectures)}. Give --task to use another head"
        )
    return TASKS[family.architectures[architecture][0]]


def _check_task(source: Source, family: Family, task: Task, adapter: Adapter | None) -> None:
    """Raises UsageError or HeadMissing for a task that the checkpoint does not serve. Loading alone would not tell: heads of
    different tasks can have weights with the same names and shapes."""
    if adapter is not None:
        _check_adapter(family, task, adapter)
    if task.name not in family.tasks:
        raise UsageError(f"{family.name} models do not serve {task.name}; they serve {', '.join(family.tasks)}")
    architecture = _architecture(source)
    if architecture is None or not task.has_head or adapter is not None:
        return
    if architecture not in family.architectures:
        known = ", ".join(name for name, tasks in family.architectures.items() if task.name in tasks)
        raise HeadMissing(
            f"{source.given} was trained as {architecture}, which is not known to have a head for {task.name}. If its head is"
            f" that of {known}, write that name into the architectures of its config.json"
        )
    trained_for = family.architectures[architecture]
    if task.name not in trained_for:
        raise HeadMissing(
            f"{source.given} was trained for {trained_for[0]} ({architecture}); it has no trained head for {task.name}"
        )


def _check_adapter(family: Family, task: Task, adapter: Adapter) -> None:
    trained = _ADAPTER_TASKS.get(adapter.task_type or "")
    if trained is None:
        return
    if trained not in family.tasks:
        raise AdapterError(
            f"the adapter in {adapter.folder} was trained for {adapter.task_type} ({trained}), and its base is a"
            f" {family.name} model, which serves {', '.join(family.tasks)}"
        )
    if task.has_head and not any({task.name, trained} <= set(tasks) for tasks in family.architectures.values()):
        raise HeadMissing(
            f"the adapter in {adapter.folder} was trained for {trained} ({adapter.task_type}); it has no trained head for"
            f" {task.name}"
        )


def _architecture(source: Source) -> str | None:
    """The class that the model was saved as; None if its config does not say."""
    named = source.config.get("architectures")
    return (named[0] if named else None) if isinstance(named, list) else named or None
