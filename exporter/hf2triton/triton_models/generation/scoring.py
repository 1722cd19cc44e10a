"""How likely a given text is: its tokens are fed like generated ones, and the log probability of each is kept.

A scored text takes part in the same steps as generated ones, and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PromptScorer:
    """Chooses the tokens of a text one after the other, after its first. `logprobs`: of those chosen so far."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self.logprobs: list[float] = []

    def next(self, logits: NDArray[Any]) -> int:
        """The text's next token, and `logits` `[vocabulary]` give its probability. Raises ValueError for NaN and infinity, and
        for a token without a logit: a tokenizer can have more tokens than the model."""
        token = self._ids[len(self.logprobs) + 1]
        if token >= len(logits):
            raise ValueError(f"token {token} of the prompt is none of the model's {len(logits)}")
        scores = logits.astype(np.float64)
        if not np.isfinite(scores).all():
            raise ValueError("the model gives logits that are NaN or infinite")
        highest = scores.max()
        self.logprobs.append(float(scores[token] - highest - np.log(np.exp(scores - highest).sum())))
        return token
