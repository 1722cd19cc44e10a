"""BERT."""

from .base import Family
from .common.texts import HEADLESS, TABLES, TYPES, architectures_of

FAMILY = Family(
    name="bert",
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures={**architectures_of("Bert"), "BertForPreTraining": ("fill-mask",)},
    headless=HEADLESS,
    # the pooler serves no task here, and many checkpoints come without one
    base_arguments={"add_pooling_layer": False},
    tables={**TABLES, **TYPES},
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
