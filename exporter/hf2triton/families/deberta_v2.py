"""DeBERTa v2 and v3: attention that also weighs relative positions against content, both ways."""

from .base import Family, NativeAttention

_HEADLESS = ("feature-extraction", "sentence-similarity")

FAMILY = Family(
    name="deberta-v2",
    # v3 has no token types, and then does not read them
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures={
        "DebertaV2ForSequenceClassification": ("text-classification", "zero-shot-classification"),
        "DebertaV2ForTokenClassification": ("token-classification",),
        "DebertaV2ForQuestionAnswering": ("question-answering",),
        "DebertaV2ForMaskedLM": ("fill-mask",),
        "DebertaV2Model": _HEADLESS,
    },
    headless=_HEADLESS,
    attention=NativeAttention(
        module="DisentangledSelfAttention",
        projections=("query_proj", "key_proj", "value_proj"),
        heads="num_attention_heads",
        bias="disentangled",
    ),
    tables={
        "input_ids": ("embeddings.word_embeddings.weight", "vocab_size"),
        "token_type_ids": ("embeddings.token_type_embeddings.weight", "type_vocab_size"),
        "positions": ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    },
    heads={
        **dict.fromkeys(
            ("text-classification", "zero-shot-classification", "token-classification"), "classifier.weight"
        ),
        "question-answering": "qa_outputs.weight",
    },
    leftover=(
        r"embeddings\.position_ids",
        r"(pooler\.dense|classifier|qa_outputs)\.(weight|bias)",
        r"(cls|lm_predictions|mask_predictions)\..*",
    ),
)
