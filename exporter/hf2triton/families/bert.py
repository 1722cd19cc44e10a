"""BERT."""

from .base import Family

_HEADLESS = ("feature-extraction", "sentence-similarity")

BERT = Family(
    name="bert",
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures={
        "BertForSequenceClassification": ("text-classification", "zero-shot-classification"),
        "BertForTokenClassification": ("token-classification",),
        "BertForQuestionAnswering": ("question-answering",),
        "BertForMaskedLM": ("fill-mask",),
        "BertForPreTraining": ("fill-mask",),
        "BertModel": _HEADLESS,
    },
    headless=_HEADLESS,
    # the pooler serves no task here, and many checkpoints come without one
    base_arguments={"add_pooling_layer": False},
)
