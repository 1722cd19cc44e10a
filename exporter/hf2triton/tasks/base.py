"""What a task is: the inputs of its frontends, their outputs, and how far served outputs may differ from PyTorch's.

The auto class of a task comes from optimum's TasksManager, see `checkpoint/loader.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.questions import Questions

#: Input of a frontend -> its value for each item. Texts are strings, images are encoded files.
Inputs = Mapping[str, tuple[str | bytes, ...]]
#: A row of a data set: column -> value.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Output:
    """A tensor that a frontend returns.

    `per`: "row" (`[batch, …]`), "token" (`[batch, tokens, …]`) or "mask" (`[batch, mask tokens, …]`). `tolerances`: precision
    -> how far it may differ from PyTorch's tensor in fp32. `optional`: exists only if the checkpoint has weights for it.
    `on_demand`: exists only if the export is asked for it, or if the checkpoint has nothing else to return.
    """

    name: str
    per: str
    tolerances: Mapping[str, Tolerance]
    optional: bool = False
    on_demand: bool = False


@dataclass(frozen=True)
class Endpoint:
    """What one frontend of a task does.

    `preprocessor`: how it reads what callers send, a key of `triton_models/preprocessors.py`. `modality`: "text" or "image",
    which selects its graph's inputs in the family. `suffix`: is added to the entry's name if a task has several frontends.
    `kind`: "encoder" for graphs that answer at once, "decoder" for graphs that generate token by token; see
    `parity/graph_kinds.py`.
    """

    preprocessor: str
    modality: str
    outputs: tuple[Output, ...]
    suffix: str = ""
    kind: str = "encoder"


@dataclass(frozen=True)
class AnswerSchema:
    """How a row of a data set becomes a pipeline call when it is scored, and the type of its answers in a Parquet column.

    `columns`: our name -> the names that data sets use for it; the first entry is the main input. `optional`: columns that rows
    may lack. `input`: row -> the pipeline's argument. `shape`: pyarrow and the options of the calls -> the type of an answer.
    `uniform`: makes an answer fit that type. `method`: the pipeline's method, "" for calling the pipeline itself. `alone`: the
    pipeline takes one input per call. `unwraps`: for a list of one input, it returns the bare answer. `always`: options of all
    calls.

    `without`: options of the method that cannot be given here, since they would depend on the other rows of a call or change the
    type of the answers.

    `with_column`: column -> the schema of rows that have it. `unlabelled`: the schema of rows without candidate labels.
    `needs_labels`: candidate labels are required.
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
    without: frozenset[str] = frozenset()
    with_column: Mapping[str, AnswerSchema] = field(default_factory=dict)
    unlabelled: AnswerSchema | None = None
    needs_labels: bool = False

    @property
    def main(self) -> str:
        return next(iter(self.columns))


@dataclass(frozen=True)
class Task:
    """A task, named as in `transformers.pipeline`, with the frontends that serve it.

    `has_head`: it needs a trained head; a checkpoint without one is an error. `joins_words`: clients join tokens into words.
    `embeds`: the files of sentence-transformers say how its embeddings are made. `needs_label`: a label that a head must have.
    `scores_pairs`: its head must have a single label, the score of a pair of texts. `class_of`: the task whose auto class loads
    the model. `adapter_type`: peft's name of the task.

    `questions`: inputs of its frontends -> questions to a pipeline; None if its tensors are its answers. `inputs`: questions
    from labelled data -> suffix of each frontend -> its inputs; None if no labelled data are read. `reference`: what answers
    questions with PyTorch, a key of `parity/reference.py`, with `reference_options`. `arguments`: words on a command line -> the
    pipeline's argument; raises UsageError. `schema`: how large data sets are scored. `lines`: how lines are answered, if not by
    the rules of `schema`.
    """

    name: str
    has_head: bool
    endpoints: tuple[Endpoint, ...]
    aliases: tuple[str, ...] = ()
    joins_words: bool = False
    embeds: bool = False
    needs_label: str | None = None
    scores_pairs: bool = False
    class_of: str | None = None
    adapter_type: str | None = None
    questions: Callable[[Sequence[Inputs]], Questions] | None = None
    inputs: Callable[[Questions], Mapping[str, Inputs]] | None = None
    reference: str = "transformers"
    reference_options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Callable[[Sequence[str]], Any] = list
    schema: AnswerSchema | None = None
    lines: AnswerSchema | None = None

    @property
    def generates(self) -> bool:
        """Whether it generates text, token by token."""
        return any(endpoint.kind == "decoder" for endpoint in self.endpoints)

    @property
    def has_labels(self) -> bool:
        """Whether its head has a row for each of the checkpoint's labels."""
        outputs = (output for endpoint in self.endpoints for output in endpoint.outputs)
        return (
            self.has_head and not self.generates and any(out.name == "logits" and out.per != "mask" for out in outputs)
        )


def with_preprocessor(task: Task, preprocessor: str) -> Task:
    """The task with another preprocessor for all of its frontends."""
    return replace(task, endpoints=tuple(replace(endpoint, preprocessor=preprocessor) for endpoint in task.endpoints))
