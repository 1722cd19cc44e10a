"""DistilBERT: BERT with half the layers, without token types and without a pooler."""

from .base import Family

_HEADLESS = ("feature-extraction", "sentence-similarity")

FAMILY = Family(
    name="distilbert",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={
        "DistilBertForSequenceClassification": ("text-classification",),
        "DistilBertForTokenClassification": ("token-classification",),
        "DistilBertForQuestionAnswering": ("question-answering",),
        "DistilBertForMaskedLM": ("fill-mask",),
        "DistilBertModel": _HEADLESS,
    },
    headless=_HEADLESS,
    tables={
        "input_ids": ("embeddings.word_embeddings.weight", "vocab_size"),
        "positions": ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    },
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
