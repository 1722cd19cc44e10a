"""ELECTRA: BERT whose embeddings may be narrower than its layers, pre-trained as a discriminator."""

from .base import Family

_HEADLESS = ("feature-extraction", "sentence-similarity")

FAMILY = Family(
    name="electra",
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures={
        "ElectraForSequenceClassification": ("text-classification",),
        "ElectraForTokenClassification": ("token-classification",),
        "ElectraForQuestionAnswering": ("question-answering",),
        "ElectraForMaskedLM": ("fill-mask",),
        "ElectraForPreTraining": _HEADLESS,
        "ElectraModel": _HEADLESS,
    },
    headless=_HEADLESS,
    tables={
        "input_ids": ("embeddings.word_embeddings.weight", "vocab_size"),
        "token_type_ids": ("embeddings.token_type_embeddings.weight", "type_vocab_size"),
        "positions": ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    },
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
