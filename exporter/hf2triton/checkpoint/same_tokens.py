"""Proves that the frontend reads texts as the checkpoint's tokenizer does in transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hf2triton_client.evaluation.places import quoted

from ..core.types import Checkpoint
from ..errors import ParityError
from ..tasks.base import Inputs
from ..triton_models.sentences import lower_cased
from .parts import tokenizer_of
from .preprocessing import texts_in
from .tokenizer import lower_cases

#: The input columns that are texts, in their order in a row.
_TEXTS = ("text", "text_pair")


class ReferenceTokenizer:
    """The checkpoint's tokenizer as transformers loads it. Loading takes a while."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from transformers import AutoTokenizer

        folder = checkpoint.source.tokenizer_folder
        self._checkpoint = checkpoint
        # Any: its decode returns a list for several rows
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        sentences = checkpoint.sentences
        if sentences is not None and sentences.lower_case and not lower_cases(tokenizer_of(checkpoint)):
            lower_cased(self._tokenizer.backend_tokenizer)  # as sentence-transformers does

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def require_same(self, inputs: Inputs, rows: Sequence[Sequence[Any]]) -> None:
        """Compares `rows`, the rows of each item from the frontend's preprocessor, with transformers' tokens. Skips items with
        several rows: these are the windows of a long context, which transformers 5 does not make. Raises ParityError."""
        checkpoint, tokenizer = self._checkpoint, self._tokenizer
        columns = [texts_in(inputs, name) for name in _TEXTS if name in inputs]
        type_ids = tokenizer_of(checkpoint).type_ids
        for index, (own, prompt) in enumerate(zip(rows, _prompts(checkpoint, inputs, len(rows)), strict=True)):
            if len(own) > 1:
                continue
            first, *others = (column[index] for column in columns)
            texts = [f"{prompt}{first}", *others]
            # lists, because an empty second text counts only in these
            lists = ([text] for text in texts)
            expected = tokenizer(*lists, truncation=True, max_length=checkpoint.max_length)
            _require_equal(texts, tokenizer.convert_ids_to_tokens, expected["input_ids"][0], _row_of(own[0]).ids)
            if type_ids and "token_type_ids" in expected:
                _require_equal(texts, list, expected["token_type_ids"][0], _row_of(own[0]).type_ids)


def _prompts(checkpoint: Checkpoint, inputs: Inputs, count: int) -> list[str]:
    """The prompt that sentence-transformers puts before each text."""
    if checkpoint.sentences is None:
        return [""] * count
    default = checkpoint.sentences.default_prompt_name
    known: dict[str | None, str] = {None: ""}
    known.update(checkpoint.sentences.prompts)
    return [known[json.loads(own).get("prompt_name", default)] for own in inputs.get("parameters", ("{}",) * count)]


def _row_of(row: Any) -> Any:
    """The encoding of a row. A row with masks wraps it."""
    return getattr(row, "encoding", row)


def _require_equal(texts: Sequence[str], told: Any, expected: Sequence[int], served: Sequence[int]) -> None:
    if list(expected) == list(served):
        return
    length = min(len(expected), len(served))
    first = next((place for place in range(length) if expected[place] != served[place]), length)
    sides = [told(list(ids[first : first + 4])) or "nothing more" for ids in (expected, served)]
    raise ParityError(
        f"the frontend would read {' and '.join(map(quoted, texts))} otherwise than transformers: from token"
        f" {first} on {sides[1]} in the place of {sides[0]}"
    )
