"""ModernBERT: rotary positions, and layers that see a window of tokens between layers that see all."""

from .base import Family

_HEADLESS = ("feature-extraction", "sentence-similarity")

FAMILY = Family(
    name="modernbert",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={
        "ModernBertForSequenceClassification": ("text-classification", "zero-shot-classification"),
        "ModernBertForTokenClassification": ("token-classification",),
        "ModernBertForQuestionAnswering": ("question-answering",),
        "ModernBertForMaskedLM": ("fill-mask",),
        "ModernBertModel": _HEADLESS,
    },
    headless=_HEADLESS,
    # classifier_pooling "mean"
    divides_by_length=True,
    tables={"input_ids": ("embeddings.tok_embeddings.weight", "vocab_size")},
    heads={
        **dict.fromkeys(
            ("text-classification", "zero-shot-classification", "token-classification", "question-answering"),
            "classifier.weight",
        ),
        "fill-mask": "head.dense.weight",
    },
    leftover=(r"head\.(dense|norm)\.(weight|bias)", r"(classifier|decoder)\.(weight|bias)"),
)
