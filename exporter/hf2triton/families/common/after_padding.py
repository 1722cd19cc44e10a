"""Text encoders whose positions start behind the index of the padding token, and whose rows have no token types."""

from __future__ import annotations

from ..base import Family, positions_after_padding
from .texts import HEADLESS, TABLES, TYPES, architectures_of


def family_after_padding(name: str, prefix: str) -> Family:
    """`prefix`: of the names of its classes."""
    return Family(
        name=name,
        inputs={"text": ("input_ids", "attention_mask")},
        architectures=architectures_of(prefix),
        headless=HEADLESS,
        max_positions=positions_after_padding,
        # the pooler serves no task here, and many checkpoints come without one
        base_arguments={"add_pooling_layer": False},
        tables={**TABLES, **TYPES},
        heads={
            "text-classification": "classifier.out_proj.weight",
            "token-classification": "classifier.weight",
            "question-answering": "qa_outputs.weight",
            "fill-mask": "lm_head.dense.weight",
        },
        leftover=(
            r"embeddings\.(position|token_type)_ids",
            r"pooler\.dense\.(weight|bias)",
            r"lm_head\..*",
            r"classifier\.((dense|out_proj)\.)?(weight|bias)",
            r"qa_outputs\.(weight|bias)",
        ),
    )
