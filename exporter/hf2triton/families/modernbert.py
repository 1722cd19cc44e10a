"""ModernBERT: rotary positions, and layers that see a window of tokens between layers that see all."""

from .base import Family
from .common.texts import HEADLESS, architectures_of

FAMILY = Family(
    name="modernbert",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures=architectures_of("ModernBert"),
    headless=HEADLESS,
    # classifier_pooling "mean"
    divides_by_length=True,
    tables={"input_ids": ("embeddings.tok_embeddings.weight", "vocab_size")},
    heads={
        **dict.fromkeys(("text-classification", "token-classification", "question-answering"), "classifier.weight"),
        "fill-mask": "head.dense.weight",
    },
    leftover=(r"head\.(dense|norm)\.(weight|bias)", r"(classifier|decoder)\.(weight|bias)"),
)
