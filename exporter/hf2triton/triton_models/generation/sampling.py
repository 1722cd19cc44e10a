"""From logits to the next token: the processors of transformers 5 in its order, then the best token or a random one.

A request's scores are those of transformers' `generate` on the same logits, in float32
(src/transformers/generation/logits_process.py; the order is that of `_get_logits_processor` in generation/utils.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .settings import Settings

#: The score of a token that cannot be chosen.
_NEVER = np.float32(-np.inf)


class Sampler:
    """Chooses the tokens of one sequence, and remembers what the settings need to know about them.

    `eos_token_ids`: the tokens that end a text, for the settings' minimum. `sequence`: which of a request's
    `num_return_sequences` this is; each has its own random numbers.

    The same seed, `sequence` and logits give the same tokens, whatever else is in the batch:
    - Random numbers come from a generator that only this sequence uses, one for each token, by the only method of numpy whose
      stream never changes between versions (`BitGenerator.random_raw`, NEP 19).
    - The number is looked up in the cumulative probabilities of the tokens in the order of their ids. In the order of their
      scores, two nearly equal tokens would swap places, and so change the drawn token, as soon as a batch of another size rounds
      the logits differently. In the order of ids, a difference of 1e-6 moves the limits between tokens by about as much, and the
      draw falls between the old and the new limit just as rarely.
    - Exponentials and their running sum are float64, summed sequentially.
    """

    def __init__(
        self, settings: Settings, prompt_ids: Sequence[int], eos_token_ids: Collection[int] = (), sequence: int = 0
    ) -> None:
        self._processors = _processors(settings, prompt_ids, eos_token_ids)
        self._random: np.random.PCG64 | None = None
        if settings.do_sample:
            # not [seed, sequence], whose 32-bit words may be those of another seed and sequence
            self._random = np.random.PCG64(np.random.SeedSequence(settings.seed, spawn_key=(sequence,)))

    def scores(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Returns the logits `[vocabulary]` after all processors, float32; -inf for tokens that cannot be chosen.

        If no setting changes the logits, returns the logits themselves, not a copy. The logits are never written to.
        """
        scores = np.asarray(logits, dtype=np.float32)
        if self._processors:
            scores = scores.copy()
            for processor in self._processors:
                processor.apply(scores)
        return scores

    def next(self, logits: NDArray[Any]) -> int:
        """Returns the next token after the prompt and the tokens chosen so far. `logits`: `[vocabulary]`.

        Raises ValueError if the logits contain NaN or infinity, as when a model overflows in fp16, or if the settings leave no
        token to choose.
        """
        scores = self.scores(logits)
        best = int(scores.argmax())  # the index of a NaN, if there is one
        if scores[best] == _NEVER:
            raise ValueError("no token is left to choose: the settings rule out all of them")
        if not np.isfinite(scores[best]):
            raise ValueError(f"the model's logits hold {scores[best]}; in fp16 they may have overflowed")
        token = best if self._random is None else _drawn(self._random, scores, scores[best])
        for processor in self._processors:
            processor.add(token)
        return token


def _drawn(random: np.random.PCG64, scores: NDArray[Any], best: np.float32) -> int:
    """A random token, drawn with the probabilities of the scores' softmax."""
    ids = np.flatnonzero(scores != _NEVER)
    limits = np.cumsum(np.exp(scores[ids].astype(np.float64) - np.float64(best)))
    # 53 bits, as many as a float64 holds: from 0 to 1 - 2**-53, so that the product is less than the last limit
    uniform = (random.random_raw() >> 11) * 2.0**-53
    # right: a token whose probability is 0 in float64 has no width and is not drawn
    return int(ids[np.searchsorted(limits, uniform * limits[-1], side="right")])


class _Processor(Protocol):
    def apply(self, scores: NDArray[Any]) -> None:
        """Changes the scores `[vocabulary]` in place."""

    def add(self, token: int) -> None:
        """Records a token that was chosen."""


def _processors(settings: Settings, prompt_ids: Sequence[int], eos_token_ids: Collection[int]) -> list[_Processor]:
    """The processors that the settings need, in the order of transformers."""
    processors: list[_Processor] = []
    least = settings.least_new_tokens(len(prompt_ids))
    if settings.repetition_penalty != 1.0:
        processors.append(_RepetitionPenalty(settings.repetition_penalty, prompt_ids))
    if settings.no_repeat_ngram_size > 0:
        processors.append(_NoRepeatNGram(settings.no_repeat_ngram_size, prompt_ids))
    if least > 0 and eos_token_ids:
        processors.append(_MinNewTokens(least, eos_token_ids))
    if settings.do_sample:
        if settings.temperature != 1.0:
            processors.append(_Temperature(settings.temperature))
        if settings.top_k > 0:
            processors.append(_TopK(settings.top_k))
        if settings.top_p < 1.0:
            processors.append(_TopP(settings.top_p))
    return processors


class _Stateless:
    def add(self, token: int) -> None:
        pass


class _RepetitionPenalty:
    """Makes each token of the prompt and the text so far less probable, once, however often it occurs."""

    def __init__(self, penalty: float, prompt_ids: Sequence[int]) -> None:
        self._penalty = np.float32(penalty)
        self._known = set(prompt_ids)
        self._ids = np.array(sorted(self._known), dtype=np.int64)

    def apply(self, scores: NDArray[Any]) -> None:
        # a tokenizer can have more tokens than the model has logits
        ids = self._ids[self._ids < len(scores)]
        chosen = scores[ids]
        scores[ids] = np.where(chosen < 0, chosen * self._penalty, chosen / self._penalty)

    def add(self, token: int) -> None:
        if token not in self._known:
            self._known.add(token)
            self._ids = np.append(self._ids, token)


class _NoRepeatNGram:
    """Lets no sequence of `size` tokens occur twice. Remembers what followed each `size - 1` tokens, so a step looks up one
    entry."""

    def __init__(self, size: int, prompt_ids: Sequence[int]) -> None:
        self._size = size
        self._last: tuple[int, ...] = ()
        self._followed: dict[tuple[int, ...], list[int]] = {}
        for token in prompt_ids:
            self.add(token)

    def apply(self, scores: NDArray[Any]) -> None:
        banned = [token for token in self._followed.get(self._last, ()) if token < len(scores)]
        scores[banned] = _NEVER

    def add(self, token: int) -> None:
        if len(self._last) == self._size - 1:
            self._followed.setdefault(self._last, []).append(token)
        window = (*self._last, token)
        self._last = window[max(len(window) - self._size + 1, 0) :]


class _MinNewTokens:
    """Rules out the end of text until there are `least` new tokens."""

    def __init__(self, least: int, eos_token_ids: Collection[int]) -> None:
        self._missing = least
        self._eos_token_ids = np.array(sorted(eos_token_ids), dtype=np.int64)

    def apply(self, scores: NDArray[Any]) -> None:
        if self._missing > 0:
            scores[self._eos_token_ids[self._eos_token_ids < len(scores)]] = _NEVER

    def add(self, token: int) -> None:
        self._missing -= 1


class _Temperature(_Stateless):
    def __init__(self, temperature: float) -> None:
        self._temperature = np.float32(temperature)

    def apply(self, scores: NDArray[Any]) -> None:
        scores /= self._temperature


class _TopK(_Stateless):
    """Keeps the `k` best tokens, and those that tie with the last of them."""

    def __init__(self, k: int) -> None:
        self._k = k

    def apply(self, scores: NDArray[Any]) -> None:
        rank = len(scores) - self._k
        if rank > 0:
            scores[scores < np.partition(scores, rank)[rank]] = _NEVER


class _TopP(_Stateless):
    """Removes the least probable tokens that together have no more than `1 - p` of the probability.

    Two things differ from transformers, which leaves them to torch. Among equal tokens, those with the lower ids are removed
    first (torch's sort is not stable). The softmax is summed in float64, so a token within 1e-6 of `1 - p` may be removed here
    but kept there.
    """

    def __init__(self, p: float) -> None:
        self._removed = np.float32(1 - p)

    def apply(self, scores: NDArray[Any]) -> None:
        ids = np.flatnonzero(scores != _NEVER)
        if not len(ids):
            return
        order = _ascending(scores[ids])
        ascending = scores[ids[order]].astype(np.float64)
        weights = np.exp(ascending - ascending[-1])
        # summed in float64 and rounded to float32, like torch's cumsum, so that equal tokens get the same limits
        sums = np.cumsum((weights / weights.sum()).astype(np.float32), dtype=np.float64).astype(np.float32)
        removed = sums <= self._removed
        removed[-1] = False
        scores[ids[order[removed]]] = _NEVER


def _ascending(scores: NDArray[Any]) -> NDArray[Any]:
    """The indices that sort float32 scores; equal scores are in the order of their indices.

    argsort(kind="stable") would take 5 ms for 50,257 scores; this takes 0.5 ms. It sorts integers that hold the score above the
    index, with the score's bits changed so that they compare like the numbers.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # + 0: -0.0 equals 0.0
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64) << 32
    keys |= np.arange(len(scores))
    keys.sort()
    return keys & 0xFFFFFFFF
