"""How what callers send becomes what a graph reads: the preprocessor that the front will use, and its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.types import Checkpoint
from ..errors import ParityError
from ..tasks.base import Endpoint, Inputs
from ..triton_models.preprocessor import Item, Preprocessor
from ..triton_models.preprocessors import make_preprocessor
from .tokenizer import lower_cases

#: Bytes of one text that a frontend takes; its tokenizer would otherwise be the way to keep it busy.
MAX_TEXT_BYTES = 1 << 20


#: Bytes and pixels of one image that a frontend takes; a small file can hold a very large image, and each core decodes one at a
#: time, at up to 8 bytes a pixel.
MAX_IMAGE_BYTES, MAX_PIXELS = 1 << 25, 1 << 26


def preprocessor_settings(checkpoint: Checkpoint, endpoint: Endpoint, round_to: int = 1) -> dict[str, Any]:
    """What the frontend's reader is made with, see `triton_models/preprocessors.py`. Lengths are padded to multiples of
    `round_to`."""
    if endpoint.modality == "image":
        return {
            "kind": endpoint.reader,
            "spec": checkpoint.image["spec"],
            "tokens": checkpoint.image["tokens"],
            "max_bytes": MAX_IMAGE_BYTES,
            "max_pixels": MAX_PIXELS,
        }
    tokenizer = checkpoint.tokenizer
    settings = {
        "kind": endpoint.reader,
        "inputs": list(checkpoint.family.inputs["text"]),
        "max_length": checkpoint.max_length,
        "max_bytes": MAX_TEXT_BYTES,
        "pad_token_id": tokenizer.pad_token_id,
        "round_to": round_to,
        "truncation_side": tokenizer.truncation_side,
        "type_ids": tokenizer.type_ids,
    }
    return settings | _MORE.get(endpoint.reader, lambda _: {})(checkpoint)


def _question(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"cls_token_id": checkpoint.tokenizer.cls_token_id}


def _masked_text(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"mask_token": checkpoint.tokenizer.mask_token, "clean_up": checkpoint.tokenizer.clean_up}


def _sentence(checkpoint: Checkpoint) -> dict[str, Any]:
    sentences, tokenizer = checkpoint.sentences, checkpoint.tokenizer
    return {
        "prompts": dict(sentences.prompts),
        "default_prompt_name": sentences.default_prompt_name,
        "pools_prompt": sentences.pooling.include_prompt,
        "lower_case": sentences.lower_case and not lower_cases(tokenizer),
        "special_ids": list(tokenizer.special_ids),
    }


#: kind of reader -> what it needs besides.
_MORE: Mapping[str, Callable[[Checkpoint], dict[str, Any]]] = {
    "question": _question,
    "masked-text": _masked_text,
    "sentence": _sentence,
}


def preprocessing_digest(checkpoint: Checkpoint, endpoint: Endpoint) -> str:
    """Identifies how what callers send becomes the graph's inputs: the reader's settings and the tokenizer."""
    settings = json.dumps(preprocessor_settings(checkpoint, endpoint), sort_keys=True)
    definition = checkpoint.tokenizer.definition if endpoint.modality == "text" else ""
    digest = hashlib.sha256(f"{settings}\n{definition}".encode())
    return f"sha256:{digest.hexdigest()}"


def preprocessor_of(checkpoint: Checkpoint, endpoint: Endpoint) -> Preprocessor:
    """The reader that the front will use."""
    definition = checkpoint.tokenizer.definition if endpoint.modality == "text" else None
    return make_preprocessor(preprocessor_settings(checkpoint, endpoint), definition)


def items_of(reader: Preprocessor, inputs: Inputs) -> list[Item]:
    """Inputs as the frontend reads them. Raises ParityError where it cannot."""
    arrays = {name: np.array([_encoded(value) for value in values], np.object_) for name, values in inputs.items()}
    items = reader.items(reader.values(arrays), set())
    for item in items:
        if isinstance(item, ValueError):
            raise ParityError(f"the frontend cannot read what parity asks: {item}") from item
    return items


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
