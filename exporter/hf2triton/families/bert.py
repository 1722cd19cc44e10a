"""BERT."""

from .base import Family

BERT = Family(
    name="bert",
    inputs=("input_ids", "attention_mask", "token_type_ids"),
    architectures={
        "BertForSequenceClassification": "text-classification",
        "BertForTokenClassification": "token-classification",
        "BertModel": "feature-extraction",
        "BertForMaskedLM": "feature-extraction",
        "BertForPreTraining": "feature-extraction",
    },
    # the pooler serves no task here, and many checkpoints come without one
    base_arguments={"add_pooling_layer": False},
)
