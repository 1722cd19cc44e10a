"""Parts of a checkpoint that are None for some tasks, for code that needs them. All functions raise SourceError for None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..core.embedding import SentenceFolder
from ..core.ranking import CrossEncoderFolder
from ..core.types import Checkpoint, Tokenizer
from ..errors import SourceError

_Part = TypeVar("_Part")


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    return _required(checkpoint, checkpoint.tokenizer, "tokenizer")


def mask_token_of(checkpoint: Checkpoint) -> str:
    return _required(checkpoint, tokenizer_of(checkpoint).mask_token, "mask token")


def tokenizer_config_of(checkpoint: Checkpoint) -> str:
    return _required(checkpoint, tokenizer_of(checkpoint).config, "tokenizer_config.json")


def max_length_of(checkpoint: Checkpoint) -> int:
    return _required(checkpoint, checkpoint.max_length, "longest text")


def image_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    return _required(checkpoint, checkpoint.image, "image processor")


def sentences_of(checkpoint: Checkpoint) -> SentenceFolder:
    return _required(checkpoint, checkpoint.sentences, "way of making embeddings")


def ranking_of(checkpoint: Checkpoint) -> CrossEncoderFolder:
    return _required(checkpoint, checkpoint.ranking, "way of scoring pairs")


def generation_config_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    return _required(checkpoint, checkpoint.generation, "generation config")


def _required(checkpoint: Checkpoint, part: _Part | None, what: str) -> _Part:
    if part is None:
        raise SourceError(f"{checkpoint.source.given} has no {what}, which {checkpoint.task.name} needs")
    return part
