"""ELECTRA: BERT whose embeddings may be narrower than its layers, pre-trained as a discriminator."""

from .base import Family
from .common.texts import HEADLESS, TABLES, TYPES, architectures_of

FAMILY = Family(
    name="electra",
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures={**architectures_of("Electra"), "ElectraForPreTraining": HEADLESS},
    headless=HEADLESS,
    tables={**TABLES, **TYPES},
    heads={
        "text-classification": "classifier.out_proj.weight",
        "token-classification": "classifier.weight",
        "question-answering": "qa_outputs.weight",
        "fill-mask": "generator_predictions.dense.weight",
    },
    leftover=(
        r"embeddings\.position_ids",
        r"discriminator_predictions\..*",
        r"generator_(predictions|lm_head)\..*",
        r"classifier\.((dense|out_proj)\.)?(weight|bias)",
        r"qa_outputs\.(weight|bias)",
    ),
)
