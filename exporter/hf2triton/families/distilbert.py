"""DistilBERT: BERT with half the layers, without token types and without a pooler."""

from .base import Family
from .common.texts import HEADLESS, TABLES, architectures_of

FAMILY = Family(
    name="distilbert",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures=architectures_of("DistilBert"),
    headless=HEADLESS,
    tables=TABLES,
    heads={
        **dict.fromkeys(("text-classification", "token-classification"), "classifier.weight"),
        "question-answering": "qa_outputs.weight",
        "fill-mask": "vocab_transform.weight",
    },
    leftover=(
        r"embeddings\.position_ids",
        r"vocab_(transform|layer_norm|projector)\.(weight|bias)",
        r"(pre_classifier|classifier|qa_outputs)\.(weight|bias)",
    ),
)
