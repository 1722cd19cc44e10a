"""DistilBERT: BERT with half the layers, without token types and without a pooler."""

from .base import Family

_HEADLESS = ("feature-extraction", "sentence-similarity")

DISTILBERT = Family(
    name="distilbert",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={
        "DistilBertForSequenceClassification": ("text-classification", "zero-shot-classification"),
        "DistilBertForTokenClassification": ("token-classification",),
        "DistilBertForQuestionAnswering": ("question-answering",),
        "DistilBertForMaskedLM": ("fill-mask",),
        "DistilBertModel": _HEADLESS,
    },
    headless=_HEADLESS,
)
