"""BERT."""

from .base import Family

_HEADLESS = ("feature-extraction", "sentence-similarity")

FAMILY = Family(
    name="bert",
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures={
        "BertForSequenceClassification": ("text-classification",),
        "BertForTokenClassification": ("token-classification",),
        "BertForQuestionAnswering": ("question-answering",),
        "BertForMaskedLM": ("fill-mask",),
        "BertForPreTraining": ("fill-mask",),
        "BertModel": _HEADLESS,
    },
    headless=_HEADLESS,
    # the pooler serves no task here, and many checkpoints come without one
    base_arguments={"add_pooling_layer": False},
    tables={
        "input_ids": ("embeddings.word_embeddings.weight", "vocab_size"),
        "token_type_ids": ("embeddings.token_type_embeddings.weight", "type_vocab_size"),
        "positions": ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    },
    heads={
        **dict.fromkeys(("text-classification", "token-classification"), "classifier.weight"),
        "question-answering": "qa_outputs.weight",
        "fill-mask": "cls.predictions.transform.dense.weight",
    },
    leftover=(
        r"embeddings\.position_ids",
        r"pooler\.dense\.(weight|bias)",
        r"cls\.(predictions|seq_relationship)\..*",
        r"(classifier|qa_outputs)\.(weight|bias)",
    ),
)
