"""The tasks, named as in `transformers.pipeline`. To add a task, add one file here."""

from __future__ import annotations

from ..discovery import rows_of
from ..errors import UnknownName
from .base import Task

TASKS: dict[str, Task] = {task.name: task for task in rows_of(__name__, "TASK", Task)}
_BY_NAME = {name: task for task in TASKS.values() for name in (task.name, *task.aliases)}


def find_task(name: str) -> Task:
    """The task with this name or alias. Raises UnknownName."""
    if name not in _BY_NAME:
        raise UnknownName("task", name, sorted(_BY_NAME))
    return _BY_NAME[name]
