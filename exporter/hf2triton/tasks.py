"""The table of tasks: what each is asked, what it gives, and how far what is served may lie from PyTorch.

The auto class of a task comes from optimum's TasksManager, see `checkpoint.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hf2triton_client.compare import Tolerance

from .errors import UnknownName


@dataclass(frozen=True)
class Output:
    """A tensor that a front gives.

    `per`: "row" (`[batch, …]`), "token" (`[batch, tokens, …]`) or "mask" (`[batch, mask tokens, …]`). `tolerances`: for
    each precision, how far it may lie from PyTorch's in fp32. `optional`: only where the checkpoint has weights for it.
    """

    name: str
    per: str
    tolerances: Mapping[str, Tolerance]
    optional: bool = False


@dataclass(frozen=True)
class Part:
    """What one front of a task does.

    `reader`: how it reads what callers send, a key of `repository/fronts/readers.py`. `modality`: "text" or "image", which
    of the family's inputs its graph has. `suffix`: what is added to the entry's name, where a task has several fronts.
    `kind`: "encoder" for graphs that answer at once, "decoder" for those that generate token by token; see `kinds.py`.
    """

    reader: str
    modality: str
    outputs: tuple[Output, ...]
    suffix: str = ""
    kind: str = "encoder"


@dataclass(frozen=True)
class Task:
    """A task, named as `transformers.pipeline` names it, with the fronts that serve it.

    `has_head`: it needs a trained head, so that a checkpoint without one is refused. `joins_words`: clients join word
    pieces into words again. `needs_labels`: a label that a head must have. `class_of`: the task whose auto class loads it.
    """

    name: str
    has_head: bool
    parts: tuple[Part, ...]
    aliases: tuple[str, ...] = ()
    joins_words: bool = False
    needs_label: str | None = None
    class_of: str | None = None

    @property
    def generates(self) -> bool:
        """Whether it gives text, token by token."""
        return any(part.kind == "decoder" for part in self.parts)

    @property
    def has_labels(self) -> bool:
        """Whether its head has a row for each label of the checkpoint."""
        outputs = (output for part in self.parts for output in part.outputs)
        return (
            self.has_head and not self.generates and any(out.name == "logits" and out.per != "mask" for out in outputs)
        )


# fp32: what reordered sums leave (measured 1e-6 to 2e-5 on BERT-sized models), with room for deeper ones.
# fp16: 2^-11 relative at each step; measured 1e-3 to 4e-3 on hidden states of about 1 to 4 in size.
# int8: steps of 1/255 of the largest value a product reads; measured a tenth of the logits' spread at most, 0.26 on hidden
# states, 0.07 on embeddings.
_LOGITS = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=0.99999, argmax=1.0),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=1e-2, cosine=0.999, argmax=1.0),
    "int8": Tolerance(max_abs=5e-1, mean_abs=8e-2, cosine=0.99, argmax=1.0),
}
# A token's two logits, one for a beginning and one for an end, are no direction: near 0 their cosine is any number.
_SPANS = _LOGITS | {"int8": Tolerance(max_abs=1.0, mean_abs=1e-1, cosine=None, argmax=1.0)}
# Logits over a vocabulary reach 100 and more in size, where fp16 has steps of 0.06. A token may be another one where PyTorch's
# own logits for the two lie closer than `max_abs`.
_NEXT_TOKEN = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=0.99999, argmax=1.0),
    "fp16": Tolerance(max_abs=2e-1, mean_abs=3e-2, cosine=0.9999, argmax=1.0),
    "int8": Tolerance(max_abs=5e-1, mean_abs=1e-1, cosine=0.999, argmax=1.0),
}
_STATES = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-2, mean_abs=2e-3, cosine=0.9999),
    "int8": Tolerance(max_abs=5e-1, mean_abs=2e-2, cosine=0.99),
}
_EMBEDDING = {
    "fp32": Tolerance(max_abs=1e-4, mean_abs=1e-5, cosine=0.99999),
    "fp16": Tolerance(max_abs=5e-3, mean_abs=1e-3, cosine=0.9999),
    "int8": Tolerance(max_abs=1e-1, mean_abs=8e-3, cosine=0.98),
}

#: Of decoded answers: scores may differ by what logits that move by `max_abs` do to a probability, tanh(max_abs / 2).
DECODED = {
    "fp32": Tolerance(max_abs=1e-3, mean_abs=1e-4, cosine=None),
    "fp16": Tolerance(max_abs=2.5e-2, mean_abs=5e-3, cosine=None),
    "int8": Tolerance(max_abs=2.5e-1, mean_abs=5e-2, cosine=None),
}

_TEXT_LOGITS = (Part("text", "text", (Output("logits", "row", _LOGITS),)),)
_IMAGE_FEATURES = (
    Output("last_hidden_state", "row", _STATES),
    Output("cls_embedding", "row", _STATES),
    Output("pooler_output", "row", _STATES, optional=True),
)

TASKS = {
    task.name: task
    for task in (
        Task("text-classification", True, _TEXT_LOGITS, ("sentiment-analysis",)),
        Task(
            "zero-shot-classification",
            True,
            _TEXT_LOGITS,
            needs_label="entailment",
            class_of="text-classification",
        ),
        Task(
            "token-classification",
            True,
            (Part("text", "text", (Output("logits", "token", _LOGITS),)),),
            ("ner",),
            joins_words=True,
        ),
        Task("question-answering", True, (Part("question", "text", (Output("span_logits", "token", _SPANS),)),)),
        Task("fill-mask", True, (Part("masked-text", "text", (Output("logits", "mask", _LOGITS),)),)),
        Task("feature-extraction", False, (Part("text", "text", (Output("last_hidden_state", "token", _STATES),)),)),
        Task("sentence-similarity", False, (Part("text", "text", (Output("embedding", "row", _EMBEDDING),)),)),
        Task(
            "text-generation",
            True,
            (Part("text", "text", (Output("logits", "token", _NEXT_TOKEN),), kind="decoder"),),
        ),
        Task("image-classification", True, (Part("image", "image", (Output("logits", "row", _LOGITS),)),)),
        Task("image-feature-extraction", False, (Part("image", "image", _IMAGE_FEATURES),)),
        Task(
            "zero-shot-image-classification",
            True,
            (
                Part("text", "text", (Output("embedding", "row", _EMBEDDING),), "_text"),
                Part("image", "image", (Output("embedding", "row", _EMBEDDING),), "_image"),
            ),
        ),
    )
}
_BY_NAME = {name: task for task in TASKS.values() for name in (task.name, *task.aliases)}


def with_reader(task: Task, reader: str) -> Task:
    """The task, whose fronts read what callers send in another way."""
    return replace(task, parts=tuple(replace(part, reader=reader) for part in task.parts))


def find_task(name: str) -> Task:
    """The task of that name or alias. Raises UnknownName."""
    if name not in _BY_NAME:
        raise UnknownName("task", name, sorted(_BY_NAME))
    return _BY_NAME[name]
