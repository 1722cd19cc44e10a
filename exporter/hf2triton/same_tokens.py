"""Proves that the front reads texts as the checkpoint's own tokenizer does in transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf2triton_client.places import quoted

from .artifacts import Checkpoint
from .errors import ParityError
from .samples import Inputs

#: Columns of inputs that are texts, in the order in which they follow each other in a row.
_TEXTS = ("text", "text_pair")


def require_same_tokens(checkpoint: Checkpoint, inputs: Inputs, rows: Sequence[Sequence[Any]]) -> None:
    """`rows`: of each item, as the front's reader makes them. Items of several rows, the windows of a long context, are passed
    over: transformers 5 cuts no windows. Raises ParityError."""
    from transformers import AutoTokenizer

    folder = checkpoint.source.tokenizer_folder
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for index, own in enumerate(rows):
        if len(own) > 1:
            continue
        texts = [inputs[name][index] for name in _TEXTS if name in inputs]
        expected = tokenizer(*texts, truncation=True, max_length=checkpoint.max_length)
        _require_equal(texts, tokenizer.convert_ids_to_tokens, expected["input_ids"], _row_of(own[0]).ids)
        if checkpoint.tokenizer.type_ids and "token_type_ids" in expected:
            _require_equal(texts, list, expected["token_type_ids"], _row_of(own[0]).type_ids)


def _row_of(row: Any) -> Any:
    """The encoding of a row; a row with masks wraps one."""
    return getattr(row, "encoding", row)


def _require_equal(texts: Sequence[str], told: Any, expected: Sequence[int], served: Sequence[int]) -> None:
    if list(expected) == list(served):
        return
    length = min(len(expected), len(served))
    first = next((place for place in range(length) if expected[place] != served[place]), length)
    sides = [told(list(ids[first : first + 4])) or "nothing more" for ids in (expected, served)]
    raise ParityError(
        f"the front would read {' and '.join(map(quoted, texts))} otherwise than transformers: from token"
        f" {first} on {sides[1]} in the place of {sides[0]}"
    )
