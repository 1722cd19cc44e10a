"""How likely a given text is: its tokens are fed like generated ones, and each one's log probability is kept.

A text that is scored takes part in the steps of those that are generated, and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PromptScorer:
    """Chooses the tokens of a text after its first, one after the other. `logprobs`: of those chosen so far."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self.logprobs: list[float] = []

    def next(self, logits: NDArray[Any]) -> int:
        """The text's next token; `logits` `[vocabulary]` are those that it had. Raises ValueError for NaN and infinity, and
        for a token that has none: a tokenizer can have more tokens than the model."""
        token = self._ids[len(self.logprobs) + 1]
        if token >= len(logits):
            raise ValueError(f"token {token} of the prompt is none of the model's {len(logits)}")
        scores = logits.astype(np.float64)
        if not np.isfinite(scores).all():
            raise ValueError("the model gives logits that are NaN or infinite")
        highest = scores.max()
        self.logprobs.append(float(scores[token] - highest - np.log(np.exp(scores - highest).sum())))
        return token
