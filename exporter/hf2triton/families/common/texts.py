"""What text encoders have in common, by the names that transformers gives it."""

from __future__ import annotations

from collections.abc import Mapping

#: The tasks that need no head.
HEADLESS = ("feature-extraction", "sentence-similarity")
#: The tables of embeddings, see `Family.tables`.
TYPES = {"token_type_ids": ("embeddings.token_type_embeddings.weight", "type_vocab_size")}
TABLES = {
    "input_ids": ("embeddings.word_embeddings.weight", "vocab_size"),
    "positions": ("embeddings.position_embeddings.weight", "max_position_embeddings"),
}


def architectures_of(prefix: str) -> Mapping[str, tuple[str, ...]]:
    """The classes whose names begin with `prefix` -> the tasks that they serve."""
    return {
        f"{prefix}ForSequenceClassification": ("text-classification",),
        f"{prefix}ForTokenClassification": ("token-classification",),
        f"{prefix}ForQuestionAnswering": ("question-answering",),
        f"{prefix}ForMaskedLM": ("fill-mask",),
        f"{prefix}Model": HEADLESS,
    }
