"""What differs between architectures, as data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from ..errors import SourceError

#: The longest sequence as most configs have it.
MAX_POSITION_EMBEDDINGS: Callable[[Any], int] = attrgetter("max_position_embeddings")


def positions_after_padding(config: Any) -> int:
    """The longest sequence of models whose positions start behind the index of the padding token.

    Raises SourceError if none is left behind it.
    """
    padding, positions = config.pad_token_id, config.max_position_embeddings
    if padding is None or padding >= positions - 1:
        raise SourceError(
            f"config.json has the pad_token_id {json.dumps(padding)}, behind which positions start, and"
            f" max_position_embeddings {positions}, so that there is none: what was the padding token in training?"
        )
    longest: int = positions - padding - 1
    return longest


#: Task -> the tasks that the same head serves. A family names only the first.
SAME_HEAD: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("zero-shot-classification", "rerank"),
    "fill-mask": ("sparse-embedding",),
}


@dataclass(frozen=True)
class NativeAttention:
    """Modules that compute attention themselves, by their names in transformers: scores = query · keyᵀ · scale + bias.

    module: their class.
    projections: their layers that make queries, keys and values.
    heads: their attribute with the number of heads.
    output: their layer that the result passes through, if they have one.
    bias: how their bias is made, a key of `BIASES` in graph/tracing/biases.py.
    """

    module: str
    projections: tuple[str, str, str]
    heads: str
    bias: str
    output: str | None = None


def one_class_token(config: Mapping[str, Any]) -> int:
    """A class token is the only token of an image besides its patches."""
    return 1


def every_position(config: Any) -> tuple[None, ...]:
    """In each layer, a token attends to all positions before it."""
    layers: int = config.num_hidden_layers
    return (None,) * layers


@dataclass(frozen=True)
class DecoderSpec:
    """How models of a family that generates differ from those of others.

    The rest has common names in transformers. The body, the embeddings and the head are `base_model`, `get_input_embeddings()`
    and `get_output_embeddings()` of the model; sizes are `num_attention_heads`, `num_hidden_layers`, `hidden_size` and
    `vocab_size` of its config. Positions, norms, biases and projections are traced.

    windows: config -> for each layer, the number of last positions, including its own, that a token attends to; None: all.
    attention_method: if layers compute attention themselves, their method that does so from query, key and value, each
        `[batch, heads, sequence, head_size]`, and a mask. Its first result has the query's shape.
    scaling: what that method multiplies scores by.
    fp32_scores: config -> whether the model computes the attention weights in fp32, even if the rest is fp16.
    unsupported: key of the config -> why a model for which it is set cannot be served.
    """

    windows: Callable[[Any], Sequence[int | None]] = every_position
    attention_method: str = ""
    scaling: float | None = None
    fp32_scores: Callable[[Any], bool] = lambda config: False
    unsupported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One architecture.

    name: its `model_type` in config.json.
    inputs: modality ("text", "image") -> the graph's inputs in order. If these lack `token_type_ids` and `tables` do not, most of
        its checkpoints were trained without types; one whose tokenizer and table have two also takes them.
    architectures: class name in config.json -> the tasks that its head serves, the usual one first. Those of SAME_HEAD are added.
    headless: the tasks that every checkpoint serves, with any head or none.
    max_positions: the config of texts -> the longest sequence.
    attention: None if the layers of an encoder call transformers' `AttentionInterface`; otherwise the modules that compute it.
    decoder: how its models generate; None if they do not.
    divides_by_length: whether a head divides by the number of a row's tokens, which may be 0.
    configs: modality -> the part of the config that describes it, if the config has parts.
    base_arguments: arguments for loading the model without a head.
    pooler: the prefix of the names of the pooling layer's weights, if that layer serves a task; a checkpoint may lack them. ""
        if pooling needs no weights.
    towers: modality -> the modules that encode and then project it, if the model has a tower for each. None: it projects itself.
    piece_normalizers: what its tokenizer, if it is written in Python, does to texts before SentencePiece does: normalizers as in
        a tokenizer.json.
    padded_to: the length to which each text is padded, for models that attend to padding.
    logit_scale, logit_bias: the parameters whose exponential multiplies similarities, and which is then added to them.
    label_scores: what turns these into the scores of labels: "softmax" over all of them, or "sigmoid" for each.
    tables: input of the graph, or "positions" -> the ending of the name of the weights whose rows it selects, and the config's
        key for their number.
    heads: task -> the ending of the name of a weight that every trained head has, or the endings for heads of several classes. If
        labels have names, it has a row for each. Those of SAME_HEAD are added.
    leftover: patterns of weights that a checkpoint may have but no answer depends on: computed buffers, layers before a head of
        another task, and heads themselves. They match names without the prefix of the model's body.
    image_processor: the image processor of transformers to use if the checkpoint's settings name none.
    square_images: whether its config states the size of images and patches as one number.
    class_tokens: the config of images -> how many tokens an image has besides its patches.
    resizes_positions: whether it takes images of any size, for which it resizes its square table of positions.
    renamed_modules: (pattern, replacement) from the module names of transformers 5 to those of 4, for adapters that were
        trained with version 4; see checkpoint/adapters/names.py.
    """

    name: str
    inputs: Mapping[str, tuple[str, ...]]
    architectures: Mapping[str, tuple[str, ...]]
    headless: tuple[str, ...] = ()
    max_positions: Callable[[Any], int] = MAX_POSITION_EMBEDDINGS
    attention: NativeAttention | None = None
    decoder: DecoderSpec | None = None
    divides_by_length: bool = False
    configs: Mapping[str, str] = field(default_factory=dict)
    base_arguments: Mapping[str, Any] = field(default_factory=dict)
    pooler: str | None = None
    towers: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    piece_normalizers: tuple[Mapping[str, Any], ...] = ()
    padded_to: int | None = None
    logit_scale: str | None = None
    logit_bias: str | None = None
    label_scores: str = "softmax"
    tables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    heads: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    leftover: tuple[str, ...] = ()
    image_processor: str | None = None
    square_images: bool = False
    class_tokens: Callable[[Mapping[str, Any]], int] = one_class_token
    resizes_positions: bool = False
    renamed_modules: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        architectures = {name: _with_same_head(tasks) for name, tasks in self.architectures.items()}
        heads = {task: ending for own, ending in self.heads.items() for task in _with_same_head((own,))}
        object.__setattr__(self, "architectures", architectures)  # the class is frozen
        object.__setattr__(self, "heads", heads)

    @property
    def calls_interface(self) -> bool:
        """Whether its layers call transformers' `AttentionInterface`."""
        return self.attention is None and not (self.decoder and self.decoder.attention_method)

    @property
    def embedding(self) -> str:
        """The last component of the name of the token embeddings' module."""
        return self.tables["input_ids"][0].split(".")[-2]

    def with_types(self) -> Family:
        """The family with token types among the inputs, for tokenizers that tell the two texts of a pair by them."""
        return replace(self, inputs={**self.inputs, "text": (*self.inputs["text"], "token_type_ids")})

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that checkpoints of the family can serve."""
        headed = [task for tasks in self.architectures.values() for task in tasks]
        return tuple(dict.fromkeys([*headed, *self.headless]))


def _with_same_head(tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks, and those that their heads serve too."""
    return tuple(dict.fromkeys([*tasks, *(other for task in tasks for other in SAME_HEAD.get(task, ()))]))


def table_rows(family: Family, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Table of a family -> its number of rows, for the tables in `shapes` (weight name -> shape)."""
    rows = {}
    for table, (ending, _) in family.tables.items():
        found = [shape for name, shape in shapes.items() if f".{name}".endswith(f".{ending}")]
        if found:
            rows[table] = int(found[0][0])
    return rows
