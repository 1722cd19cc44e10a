"""The table of tasks: what each is asked, what it gives, and how far what is served may lie from PyTorch.

The auto class of a task comes from optimum's TasksManager, see `checkpoint/loader.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.questions import Questions

#: Input of a frontend -> its value for each item; texts are strings, images are encoded files.
Inputs = Mapping[str, tuple[str | bytes, ...]]
#: A row of a data set, by its columns.
Row = Mapping[str, Any]


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
class AnswerSchema:
    """What a row of a data set is asked when it is scored, and the shape of its answers in Parquet, whose columns have one type.

    `columns`: our name -> the names that data sets use for it, the first being the input's main one; `optional`: those that
    rows need not have. `input`: what a pipeline is called with. `shape`: pyarrow and the options of the calls -> the type of an
    answer. `uniform`: makes an answer fit that type. `method`: of the pipeline, "" for the call itself. `alone`: it takes one
    input a call. `unwraps`: it gives the answer itself for a list of one. `always`: options of all calls.

    `with_column`: a column -> the schema of rows that have it. `unlabelled`: the schema of rows without candidate labels.
    `needs_labels`: there must be some.
    """

    columns: Mapping[str, tuple[str, ...]]
    input: Callable[[Row], Any]
    shape: Callable[[Any, Mapping[str, Any]], Any]
    optional: frozenset[str] = frozenset()
    uniform: Callable[[Any], Any] | None = None
    method: str = ""
    alone: bool = False
    unwraps: bool = False
    always: tuple[tuple[str, Any], ...] = ()
    example: Any = "a"
    with_column: Mapping[str, AnswerSchema] = field(default_factory=dict)
    unlabelled: AnswerSchema | None = None
    needs_labels: bool = False

    @property
    def main(self) -> str:
        return next(iter(self.columns))


@dataclass(frozen=True)
class Task:
    """A task, named as `transformers.pipeline` names it, with the frontends that serve it.

    `has_head`: it needs a trained head, so that a checkpoint without one is refused. `joins_words`: clients join word
    pieces into words again. `needs_labels`: a label that a head must have. `class_of`: the task whose auto class loads it.
    `adapter_type`: what peft calls it.

    `questions`: what a pipeline of the task can be asked with inputs of its last frontend; None where its tensors are its
    answers. `inputs`: what each frontend is sent of the questions in labelled data, by its suffix; None where no such data are
    read. `reference`: who answers them with PyTorch, a key of `parity/reference.py`, with `reference_options`. `arguments`: what
    a pipeline is called with, of the words on a command line; raises UsageError. `schema`: how large sets are scored.
    """

    name: str
    has_head: bool
    endpoints: tuple[Endpoint, ...]
    aliases: tuple[str, ...] = ()
    joins_words: bool = False
    needs_label: str | None = None
    class_of: str | None = None
    adapter_type: str | None = None
    questions: Callable[[Sequence[Inputs]], Questions] | None = None
    inputs: Callable[[Questions], Mapping[str, Inputs]] | None = None
    reference: str = "transformers"
    reference_options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Callable[[Sequence[str]], Any] = list
    schema: AnswerSchema | None = None

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
