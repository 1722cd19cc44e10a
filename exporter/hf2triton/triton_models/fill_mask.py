"""Fills masks: the likeliest tokens for each mask token of a text.

Follows the fill-mask pipeline of transformers 5 (src/transformers/pipelines/fill_mask.py), so that the answers are the same;
decoding follows its `TokenizersBackend._decode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .clean_up import cleaned
from .parameters import Check, integer, parse_parameters
from .text import Row

#: The most answers for a text, over all its masks; decoding that many takes a second. transformers has no such limit.
MAX_ANSWERS = 4096
#: The most targets of a text, and the most characters of a target; each is tokenised. transformers has no such limits.
MAX_TARGETS = 4096
MAX_TARGET_LENGTH = 256


@dataclass(frozen=True)
class FillMaskParameters:
    """The parameters of a request, with the names and defaults of transformers. `targets`: the words to choose among. A word
    outside the vocabulary counts as its first token, or as its last if the tokenizer truncates on the left."""

    top_k: int = 5
    targets: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> FillMaskParameters:
        """Reads a JSON object; `targets` may be a string or a list. Raises ValueError for unknown names and bad values."""
        given = parse_parameters(text, _CHECKS)
        targets = given.pop("targets", None)
        if targets is not None:
            given["targets"] = (targets,) if isinstance(targets, str) else tuple(targets)
        return cls(**given)


def _is_targets(value: Any) -> bool:
    given = [value] if isinstance(value, str) else value
    return (
        isinstance(given, list)
        and 0 < len(given) <= MAX_TARGETS
        and all(isinstance(one, str) and len(one) <= MAX_TARGET_LENGTH for one in given)
    )


_CHECKS: Mapping[str, Check] = {
    "top_k": integer(1, MAX_ANSWERS),
    "targets": (
        f"a string or a list of strings that is not empty, up to {MAX_TARGETS} of them with up to {MAX_TARGET_LENGTH}"
        " characters each",
        _is_targets,
    ),
}


@dataclass(frozen=True)
class MaskedRow:
    """A row of the graph. `positions`: the places of its mask tokens. `top_k`: how many answers each gets. `targets`: the token
    ids to choose among, if not all."""

    encoding: Row
    positions: tuple[int, ...]
    top_k: int
    targets: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.encoding)


class FillMaskEncoder:
    """Rows and answers for one tokenizer. `clean_up`: its `clean_up_tokenization_spaces`. `truncation_side`: the side on which
    targets outside the vocabulary are cut to one token.

    Raises ValueError if the tokenizer does not know `mask_token`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        mask_token: str,
        pad_token_id: int | None,
        clean_up: bool,
        truncation_side: str = "right",
    ) -> None:
        mask_token_id = tokenizer.token_to_id(mask_token)
        if mask_token_id is None:
            raise ValueError(f"the tokenizer has no token {mask_token}")
        self._tokenizer = tokenizer
        self._mask_token = mask_token
        self._mask_token_id = mask_token_id
        self._pad_token_id = pad_token_id
        self._clean_up = clean_up
        self._kept = slice(-1, None) if truncation_side == "left" else slice(1)

    def row(self, encoding: Row, parameters: FillMaskParameters) -> MaskedRow:
        """Returns a text's row. Raises ValueError if the text has no mask token, too many for `top_k`, or only targets without
        tokens."""
        positions = tuple(index for index, token in enumerate(encoding.ids) if token == self._mask_token_id)
        if not positions:
            cut = f" within its first {len(encoding)} tokens, to which it was cut" if encoding.overflowing else ""
            raise ValueError(f"the text has no mask token ({self._mask_token}){cut}")
        targets = None if parameters.targets is None else self._token_ids(parameters.targets)
        top_k = parameters.top_k if targets is None else min(parameters.top_k, len(targets))
        if len(positions) * top_k > MAX_ANSWERS:
            raise ValueError(
                f"{top_k:,} answers for each of {len(positions):,} mask tokens are too many; at most {MAX_ANSWERS:,}"
                " are given for a text: ask for a smaller top_k"
            )
        return MaskedRow(encoding, positions, top_k, targets)

    def _token_ids(self, targets: Sequence[str]) -> tuple[int, ...]:
        """The tokens of the targets, each once. Raises ValueError if there are none."""
        found = []
        for target in targets:
            token = self._tokenizer.token_to_id(target)
            pieces = [token] if token is not None else self._tokenizer.encode(target, add_special_tokens=False).ids
            found += pieces[self._kept]
        if not found:
            raise ValueError("none of the targets has a token in the vocabulary")
        # in the order of a set, as in transformers: it decides between equal probabilities
        return tuple(set(found))

    def likeliest(self, row: MaskedRow, logits: NDArray[Any]) -> list[list[tuple[int, float]]]:
        """The likeliest tokens with their probabilities for each of the row's `positions`, best first.

        `logits`: float32 [masks, vocabulary]. Uses no tokenizer, so it is thread-safe.
        """
        results = []
        for index in range(len(row.positions)):
            [scores] = _softmax(
                logits[index : index + 1]
            )  # row by row: all at once would take three times the logits' memory
            choices = np.arange(len(scores)) if row.targets is None else np.array(row.targets)
            best = choices[_best(scores[choices], row.top_k)]
            results.append([(int(token), float(scores[token])) for token in best])
        return results

    def answers(self, row: MaskedRow, likeliest: Sequence[Sequence[tuple[int, float]]]) -> list[Any]:
        """The answers for the likeliest tokens: `{"score", "token", "token_str", "sequence"}` each.

        Returns a list of such answers for a single mask, and a list of these lists for several masks.
        """
        lone = len(row.positions) == 1
        ids = row.encoding.ids
        results = []
        for position, tokens in zip(row.positions, likeliest, strict=True):
            answers = []
            for token, score in tokens:
                filled = [*ids[:position], token, *ids[position + 1 :]]
                answers.append(
                    {
                        "score": score,
                        "token": token,
                        "token_str": self._decode([token], False),
                        # other masks are special tokens too; without them the sequence would read oddly
                        "sequence": self._decode([one for one in filled if one != self._pad_token_id], lone),
                    }
                )
            results.append(answers)
        return results[0] if lone else results

    def _decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        return cleaned(text) if self._clean_up else text


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Softmax of `[masks, vocabulary]` over the vocabulary, float32."""
    logits = logits.astype(np.float32)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[Any] = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares


def _best(scores: NDArray[Any], count: int) -> NDArray[Any]:
    """Indices of the `count` highest scores, the highest first."""
    best = np.argpartition(-scores, count)[:count] if count < len(scores) else np.arange(len(scores))
    return best[np.argsort(-scores[best], kind="stable")]
