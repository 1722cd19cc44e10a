"""The table of tasks: what each gives, and how far what is served may lie from PyTorch.

The auto class of a task comes from optimum's TasksManager, see `checkpoint.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hf2triton_client.compare import Tolerance

from .errors import UnknownName


@dataclass(frozen=True)
class Task:
    """A task, named as `transformers.pipeline` names it.

    `output`: the graph's output. `per`: "row" (`[batch, …]`) or "token" (`[batch, sequence, …]`). `has_head`: it needs a
    trained head, so that a checkpoint without one is refused. `tolerances`: for each precision, how far the output may
    lie from PyTorch's in fp32. `joins_words`: clients join word pieces into words again.
    """

    name: str
    output: str
    per: str
    has_head: bool
    tolerances: Mapping[str, Tolerance]
    aliases: tuple[str, ...] = ()
    joins_words: bool = False


# fp32: what reordered sums leave (measured 1e-6 to 2e-5 on BERT-sized models), with room for deeper ones.
# fp16: 2^-11 relative at each step; measured 1e-3 to 4e-3 on hidden states of about 1 to 4 in size.
_LOGITS = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=0.99999, argmax=1.0),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=1e-2, cosine=0.999, argmax=1.0),
}
_STATES = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=2e-3, cosine=0.9999),
}
_EMBEDDING = {
    "fp32": Tolerance(max_abs=1e-4, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-3, mean_abs=1e-3, cosine=0.9999),
}

TASKS = {
    task.name: task
    for task in (
        Task("text-classification", "logits", "row", True, _LOGITS, ("sentiment-analysis",)),
        Task("token-classification", "logits", "token", True, _LOGITS, ("ner",), joins_words=True),
        Task("feature-extraction", "last_hidden_state", "token", False, _STATES),
        Task("sentence-similarity", "embedding", "row", False, _EMBEDDING),
    )
}
_BY_NAME = {name: task for task in TASKS.values() for name in (task.name, *task.aliases)}


def find_task(name: str) -> Task:
    """The task of that name or alias. Raises UnknownName."""
    if name not in _BY_NAME:
        raise UnknownName("task", name, sorted(_BY_NAME))
    return _BY_NAME[name]
