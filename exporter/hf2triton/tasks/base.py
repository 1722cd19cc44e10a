"""The table of tasks: what each is asked, what it gives, and how far what is served may lie from PyTorch.

The auto class of a task comes from optimum's TasksManager, see `checkpoint/loader.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hf2triton_client.evaluation.compare import Tolerance


@dataclass(frozen=True)
class Output:
    """A tensor that a frontend gives.

    `per`: "row" (`[batch, …]`), "token" (`[batch, tokens, …]`) or "mask" (`[batch, mask tokens, …]`). `tolerances`: for
    each precision, how far it may lie from PyTorch's in fp32. `optional`: only where the checkpoint has weights for it.
    """

    name: str
    per: str
    tolerances: Mapping[str, Tolerance]
    optional: bool = False


@dataclass(frozen=True)
class Endpoint:
    """What one frontend of a task does.

    `reader`: how it reads what callers send, a key of `triton_models/preprocessors.py`. `modality`: "text" or "image", which
    of the family's inputs its graph has. `suffix`: what is added to the entry's name, where a task has several frontends.
    `kind`: "encoder" for graphs that answer at once, "decoder" for those that generate token by token; see
    `parity/graph_kinds.py`.
    """

    reader: str
    modality: str
    outputs: tuple[Output, ...]
    suffix: str = ""
    kind: str = "encoder"


@dataclass(frozen=True)
class Task:
    """A task, named as `transformers.pipeline` names it, with the frontends that serve it.

    `has_head`: it needs a trained head, so that a checkpoint without one is refused. `joins_words`: clients join word
    pieces into words again. `needs_labels`: a label that a head must have. `class_of`: the task whose auto class loads it.
    """

    name: str
    has_head: bool
    endpoints: tuple[Endpoint, ...]
    aliases: tuple[str, ...] = ()
    joins_words: bool = False
    needs_label: str | None = None
    class_of: str | None = None

    @property
    def generates(self) -> bool:
        """Whether it gives text, token by token."""
        return any(endpoint.kind == "decoder" for endpoint in self.endpoints)

    @property
    def has_labels(self) -> bool:
        """Whether its head has a row for each label of the checkpoint."""
        outputs = (output for endpoint in self.endpoints for output in endpoint.outputs)
        return (
            self.has_head and not self.generates and any(out.name == "logits" and out.per != "mask" for out in outputs)
        )


def with_reader(task: Task, reader: str) -> Task:
    """The task, whose frontends read what callers send in another way."""
    return replace(task, endpoints=tuple(replace(endpoint, reader=reader) for endpoint in task.endpoints))
