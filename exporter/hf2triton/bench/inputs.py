"""The inputs of contenders: real inputs from an entry's baseline, or texts of an exact length made from them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf2triton_client.evaluation.baseline import Baseline

from ..checkpoint.preprocessing import Values, texts_in
from ..core.frontend_settings import EncoderSettings, FrontendSettings, read_settings
from ..core.layout import BASELINE, TOKENIZER
from ..errors import UsageError

#: The values of a call.
Batch = Values
#: The number of texts of each length.
TEXTS = 8
#: How many characters around a cut are tried to get the right number of tokens.
_AROUND = 12


def batches_of(inputs: Values, batch_size: int) -> list[Batch]:
    """Calls with `batch_size` items each, in a shuffled order that is always the same. Each item is in `batch_size` calls,
    so all batch sizes require the same work."""
    count = len(next(iter(inputs.values())))
    order = list(range(count))
    random.Random(0).shuffle(order)
    places = [[order[(batch * batch_size + item) % count] for item in range(batch_size)] for batch in range(count)]
    return [{name: [values[place] for place in own] for name, values in inputs.items()} for own in places]


def inputs_of_length(folder: Path, tokens: int) -> dict[str, tuple[str, ...]]:
    """TEXTS items, or prompts for a generative model, each of exactly `tokens` tokens for the frontend in `folder`, including
    special tokens. The items are beginnings of its baseline's joined texts.

    Raises UsageError if the model accepts fewer tokens, or if no text has so few.
    """
    from tokenizers import Tokenizer

    settings = read_settings(folder)
    inputs = Baseline.load(folder / BASELINE).inputs
    given = {name: texts_in(inputs, name) for name in inputs}
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    most = _most_tokens(settings, given)
    if tokens > most:
        raise UsageError(f"a length of {tokens} tokens is more than the {most} that this model takes")
    item, count = _maker(settings, given, tokenizer)
    made = []
    for text in _beginnings(given, tokens):
        cut = _cut(text, tokens, lambda text: count(item(text)))
        if cut is not None:
            made.append(item(cut))
    if not made:
        raise UsageError(f"no text of this model has exactly {tokens} tokens: ask for more of them")
    return {name: tuple(one[name] for one in made) for name in made[0]}


def _most_tokens(settings: FrontendSettings, given: Mapping[str, Sequence[str]]) -> int:
    if isinstance(settings, EncoderSettings):
        return int(settings.reader["max_length"])
    new: int = json.loads(given["sampling_parameters"][0])["max_new_tokens"]
    return settings.context - new


def _maker(
    settings: FrontendSettings, given: Mapping[str, Sequence[str]], tokenizer: Any
) -> tuple[Callable[[str], dict[str, str]], Callable[[dict[str, str]], int]]:
    """The function that makes an item from a text, and the function that counts its tokens."""
    if "text_input" in given:
        parameters = given["sampling_parameters"][0]
        return (
            lambda text: {"text_input": text, "sampling_parameters": parameters},
            lambda item: len(tokenizer.encode(item["text_input"])),
        )
    if "text_pair" in given:
        question = given["text"][0]
        return (
            lambda text: {"text": question, "text_pair": text},
            lambda item: len(tokenizer.encode(item["text"], item["text_pair"])),
        )
    mask = settings.reader.get("mask_token") if isinstance(settings, EncoderSettings) else None
    return lambda text: {"text": f"{mask} {text}" if mask else text}, lambda item: len(tokenizer.encode(item["text"]))


def _beginnings(given: Mapping[str, Sequence[str]], tokens: int) -> Iterator[str]:
    """Long texts that begin at different positions in the baseline's texts."""
    column = next(given[name] for name in ("text_pair", "text_input", "text") if name in given)
    words = " ".join(column).split()
    words *= -(-tokens // len(words)) + 1  # a word is at least one token
    for index in range(TEXTS):
        start = index * len(words) // (2 * TEXTS)
        yield " ".join(words[start : start + tokens])


def _cut(text: str, tokens: int, count: Callable[[str], int]) -> str | None:
    """A beginning of a text with exactly `tokens` tokens, or None if none was found."""
    low, high = 0, len(text)
    while low < high:  # the longest beginning within the limit, assuming that a further character never removes a token
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= tokens else (low, middle - 1)
    for end in sorted(range(max(low - _AROUND, 1), low + _AROUND + 1), key=lambda end: abs(end - low)):
        cut = text[:end].rstrip()
        if cut and count(cut) == tokens:
            return cut
    return None
