"""DeBERTa v2 and v3: attention that also weighs relative positions against content, both ways."""

from .base import Family, NativeAttention
from .common.texts import HEADLESS, TABLES, TYPES, architectures_of

FAMILY = Family(
    name="deberta-v2",
    # v3 has no token types, and then does not read them
    inputs={"text": ("input_ids", "attention_mask", "token_type_ids")},
    architectures=architectures_of("DebertaV2"),
    headless=HEADLESS,
    attention=NativeAttention(
        module="DisentangledSelfAttention",
        projections=("query_proj", "key_proj", "value_proj"),
        heads="num_attention_heads",
        bias="disentangled",
    ),
    tables={**TABLES, **TYPES},
    heads={
        **dict.fromkeys(("text-classification", "token-classification"), "classifier.weight"),
        "question-answering": "qa_outputs.weight",
    },
    leftover=(
        r"embeddings\.position_ids",
        r"(pooler\.dense|classifier|qa_outputs)\.(weight|bias)",
        r"(cls|lm_predictions|mask_predictions)\..*",
    ),
)
