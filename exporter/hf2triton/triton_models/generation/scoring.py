"""Measures how likely a given text is: feeds its tokens like generated ones, and keeps the log probability of each.

A scored text takes part in the same steps as generated texts, and delays none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PromptScorer:
    """Chooses the tokens of a text in order, beginning with its second. `logprobs`: of those chosen so far."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = ids
        self.logprobs: list[float] = []

    def next(self, logits: NDArray[Any]) -> int:
        """Returns the text's next token, and keeps its log probability from `logits` `[vocabulary]`. Raises ValueError for NaN
        and infinity, and for a token without a logit: a tokenizer can have more tokens than the model."""
        token = self._ids[len(self.logprobs) + 1]
        if token >= len(logits):
            raise ValueError(f"token {token} of the prompt is not one of the model's {len(logits)}")
        scores = logits.astype(np.float64)
        if not np.isfinite(scores).all():
            raise ValueError("the model gives logits that are NaN or infinite")
        highest = scores.max()
        self.logprobs.append(float(scores[token] - highest - np.log(np.exp(scores - highest).sum())))
        return token
