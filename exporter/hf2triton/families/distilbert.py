"""DistilBERT: BERT with half the layers, without token types and without a pooler."""

from .base import Family

DISTILBERT = Family(
    name="distilbert",
    inputs=("input_ids", "attention_mask"),
    architectures={
        "DistilBertForSequenceClassification": "text-classification",
        "DistilBertForTokenClassification": "token-classification",
        "DistilBertModel": "feature-extraction",
        "DistilBertForMaskedLM": "feature-extraction",
    },
)
