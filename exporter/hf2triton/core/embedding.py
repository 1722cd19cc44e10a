"""How texts become embeddings, as a folder of sentence-transformers says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: How embeddings can be compared, the usual way first.
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


#: Prompts that every model has unless its folder says otherwise.
DEFAULT_PROMPTS = {"query": "", "document": ""}


@dataclass(frozen=True)
class Normalize:
    """Length 1."""


@dataclass(frozen=True)
class Dense:
    """A product with a matrix and an activation function, one of ACTIVATIONS. `weights`: the file. `residual`: "" for none,
    "identity" or "linear" where the input is added to the result, as it is or after another product."""

    weights: Path
    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "Tanh"
    residual: str = ""


@dataclass(frozen=True)
class LayerNorm:
    """Mean 0 and variance 1 over the embedding, scaled and moved. `weights`: the file."""

    weights: Path
    dimension: int


Layer = Normalize | Dense | LayerNorm


@dataclass(frozen=True)
class Pooling:
    """How token states become one embedding.

    `modes`: as sentence-transformers names them; several are concatenated. `include_prompt`: the prompt's tokens count too.
    `layers`: what follows, in order. `truncate_dim`: how many of the numbers are kept in the end.
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[Layer, ...] = ()
    truncate_dim: int | None = None

    @property
    def normalizes(self) -> bool:
        """Whether embeddings have length 1 after the last layer."""
        return bool(self.layers) and isinstance(self.layers[-1], Normalize)


@dataclass(frozen=True)
class SentenceFolder:
    """What is put before texts, how many tokens are read of them, how they become embeddings, and how these are compared.

    `prompts`: name -> text. `max_length`: overrides the tokenizer's own limit. `lower_case`: the text is lower-cased first.
    The defaults are what sentence-transformers does with a plain checkpoint.
    """

    pooling: Pooling = Pooling()
    prompts: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_PROMPTS))
    default_prompt_name: str | None = None
    similarity: str = SIMILARITIES[0]
    max_length: int | None = None
    lower_case: bool = False

    @property
    def has_prompts(self) -> bool:
        """Whether a prompt can change an embedding other than by being typed before the text."""
        return any(self.prompts.values()) or not self.pooling.include_prompt
