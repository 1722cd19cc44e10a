"""Turns callers' inputs into a graph's inputs: the preprocessor that the frontend will use, and its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.types import Checkpoint
from ..errors import ParityError
from ..tasks.base import Endpoint
from ..triton_models.preprocessor import Item, Preprocessor
from ..triton_models.preprocessors import make_preprocessor
from ..triton_models.text_preprocessor import TextPreprocessor
from .parts import image_of, sentences_of, tokenizer_of
from .tokenizer import lower_cases

#: Input of a frontend -> its value for each item, as a string or as bytes.
Values = Mapping[str, Sequence[str | bytes]]
#: The largest text that a frontend takes, in bytes. Without a limit, one caller could keep its tokenizer busy.
MAX_TEXT_BYTES = 1 << 20
#: The largest image that a frontend takes, in bytes and in pixels. A small file can hold a very large image. Each core decodes
#: one at a time, with up to 8 bytes a pixel.
MAX_IMAGE_BYTES, MAX_PIXELS = 1 << 25, 1 << 26


def preprocessor_settings(checkpoint: Checkpoint, endpoint: Endpoint, round_to: int = 1) -> dict[str, Any]:
    """The settings of the frontend's preprocessor, see `triton_models/preprocessors.py`. It pads lengths to multiples of
    `round_to`."""
    if endpoint.modality == "image":
        image = image_of(checkpoint)
        return {
            "kind": endpoint.preprocessor,
            "spec": image["spec"],
            "tokens": image["tokens"],
            "max_bytes": MAX_IMAGE_BYTES,
            "max_pixels": MAX_PIXELS,
        }
    tokenizer = tokenizer_of(checkpoint)
    settings = {
        "kind": endpoint.preprocessor,
        "inputs": list(checkpoint.family.inputs["text"]),
        "max_length": checkpoint.max_length,
        "max_bytes": MAX_TEXT_BYTES,
        "pad_token_id": tokenizer.pad_token_id,
        "round_to": round_to,
        "truncation_side": tokenizer.truncation_side,
        "type_ids": tokenizer.type_ids,
    }
    if checkpoint.family.padded_to is not None:
        settings |= {"fills": tokenizer.padding_side}
    more = _MORE.get(endpoint.preprocessor)
    return settings if more is None else settings | more(checkpoint)


def longest_row(checkpoint: Checkpoint, endpoint: Endpoint) -> int | None:
    """The most tokens of a row, if rows have different lengths; None for images, and for texts that are all padded to one."""
    is_free = endpoint.modality == "text" and checkpoint.family.padded_to is None
    return checkpoint.max_length if is_free else None


def _question(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"cls_token_id": tokenizer_of(checkpoint).cls_token_id}


def _masked_text(checkpoint: Checkpoint) -> dict[str, Any]:
    tokenizer = tokenizer_of(checkpoint)
    return {"mask_token": tokenizer.mask_token, "clean_up": tokenizer.clean_up}


def _sentence(checkpoint: Checkpoint) -> dict[str, Any]:
    sentences, tokenizer = sentences_of(checkpoint), tokenizer_of(checkpoint)
    return {
        "prompts": dict(sentences.prompts),
        "default_prompt_name": sentences.default_prompt_name,
        "pools_prompt": sentences.pooling.include_prompt,
        "lower_case": sentences.lower_case and not lower_cases(tokenizer),
        "special_ids": list(tokenizer.special_ids),
    }


def _sparse(checkpoint: Checkpoint) -> dict[str, Any]:
    pooling = sentences_of(checkpoint).pooling
    return {**_sentence(checkpoint), "max_active_dims": getattr(pooling, "max_active_dims", None)}


#: Kind of preprocessor -> the function that returns its additional settings.
_MORE: Mapping[str, Callable[[Checkpoint], dict[str, Any]]] = {
    "question": _question,
    "masked-text": _masked_text,
    "sentence": _sentence,
    "sparse-text": _sparse,
}


def preprocessing_digest(checkpoint: Checkpoint, endpoint: Endpoint) -> str:
    """A digest that identifies how callers' inputs become the graph's, from the preprocessor's settings and the tokenizer."""
    settings = json.dumps(preprocessor_settings(checkpoint, endpoint), sort_keys=True)
    definition = tokenizer_of(checkpoint).definition if endpoint.modality == "text" else ""
    digest = hashlib.sha256(f"{settings}\n{definition}".encode())
    return f"sha256:{digest.hexdigest()}"


def preprocessor_of(checkpoint: Checkpoint, endpoint: Endpoint) -> Preprocessor:
    """The preprocessor that the frontend will use."""
    definition = tokenizer_of(checkpoint).definition if endpoint.modality == "text" else None
    return make_preprocessor(preprocessor_settings(checkpoint, endpoint), definition)


def items_of(preprocessor: Preprocessor, inputs: Values) -> list[Item]:
    """The inputs as the frontend reads them. Raises ParityError for those that it cannot read."""
    arrays = {name: np.array(files_in(inputs, name), np.object_) for name in inputs}
    items: list[Item] = []
    for item in preprocessor.items(preprocessor.values(arrays), set()):
        if isinstance(item, ValueError):
            raise ParityError(f"the frontend cannot read what parity asks: {item}") from item
        items.append(item)
    return items


def item_of(preprocessor: Preprocessor, value: Any, wanted: Collection[str] = ()) -> Item:
    """The item that a preprocessor makes of one value. Raises ValueError if it cannot read the value."""
    [item] = preprocessor.items([value], wanted)
    if isinstance(item, ValueError):
        raise item
    return item


def as_text_preprocessor(preprocessor: Preprocessor) -> TextPreprocessor:
    """The preprocessor of an endpoint that reads texts. Raises ParityError for any other."""
    if not isinstance(preprocessor, TextPreprocessor):
        raise ParityError(f"a {type(preprocessor).__name__} does not read texts")
    return preprocessor


def texts_in(inputs: Values, name: str) -> tuple[str, ...]:
    """The values of an input as strings."""
    return tuple(value if isinstance(value, str) else value.decode() for value in inputs[name])


def files_in(inputs: Values, name: str) -> tuple[bytes, ...]:
    """The values of an input as the frontend receives them."""
    return tuple(map(_encoded, inputs[name]))


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
