"""How a cross-encoder scores a query with a document, as its files describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CrossEncoderFolder:
    """How pairs are scored. The defaults are what CrossEncoder does with a plain checkpoint of one label.

    `activation`: the name of the function that turns a logit into a score, one of the client's `ACTIVATIONS`. `prompts`: name ->
    text to put before queries. `max_length`: overrides the tokenizer's limit.
    """

    activation: str = "Sigmoid"
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    max_length: int | None = None
