"""How texts become embeddings, as a sentence-transformers folder describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

#: The ways to compare embeddings, and those of token embeddings.
SIMILARITIES, TOKEN_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan"), ("maxsim",)


#: The prompts of models whose folder does not override them.
DEFAULT_PROMPTS = {"query": "", "document": ""}


@dataclass(frozen=True)
class Normalize:
    """Scales embeddings to length 1."""


@dataclass(frozen=True)
class Dense:
    """A matrix product and an activation function, one of ACTIVATIONS. `weights`: the file. `residual`: "" for none; "identity"
    adds the input to the result, "linear" adds it after another matrix product."""

    weights: Path
    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "Tanh"
    residual: str = ""


@dataclass(frozen=True)
class LayerNorm:
    """Normalizes an embedding to mean 0 and variance 1, then scales and shifts it. `weights`: the file."""

    weights: Path
    dimension: int


Layer = Normalize | Dense | LayerNorm


@dataclass(frozen=True)
class Pooling:
    """How token states become one embedding.

    `modes`: as sentence-transformers names them; several are concatenated. `include_prompt`: the prompt's tokens count too.
    `layers`: the layers that follow, in order. `truncate_dim`: how many dimensions are kept at the end.
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
class Splade:
    """How a masked language model's logits `[tokens, vocabulary]` become one sparse embedding `[vocabulary]`.

    `strategy`: "max" or "sum" over the tokens of log(1 + relu(logits)). `activation`: "relu", or "log1p_relu", which takes the
    logarithm twice. `max_active_dims`: how many weights are kept unless a caller asks for fewer; None: all.
    """

    #: The prompt's tokens always count.
    include_prompt: ClassVar[bool] = True

    strategy: str = "max"
    activation: str = "relu"
    max_active_dims: int | None = None


@dataclass(frozen=True)
class TokenVectors:
    """Each token has its own vector, and no vector stands for the whole text (late interaction)."""

    #: The prompt's tokens always count.
    include_prompt: ClassVar[bool] = True


@dataclass(frozen=True)
class SentenceFolder:
    """The prompts before texts, how many tokens of a text are read, how texts become embeddings, and how these are compared.

    `token_layers`: the layers for each token's state, before the pooling. `prompts`: name -> text. `max_length`: overrides the
    tokenizer's limit. `lower_case`: the text is lower-cased first. The defaults are what sentence-transformers does with a plain
    checkpoint.
    """

    pooling: Pooling | Splade | TokenVectors = Pooling()
    token_layers: tuple[Layer, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_PROMPTS))
    default_prompt_name: str | None = None
    similarity: str = SIMILARITIES[0]
    max_length: int | None = None
    lower_case: bool = False

    @property
    def has_prompts(self) -> bool:
        """Whether a prompt can change an embedding in any way other than as text typed before the input."""
        return any(self.prompts.values()) or not self.pooling.include_prompt


#: Task -> what sentence-transformers does with a plain checkpoint.
PLAIN: Mapping[str, SentenceFolder] = {
    "sentence-similarity": SentenceFolder(),
    "sparse-embedding": SentenceFolder(Splade(), similarity="dot"),
}
