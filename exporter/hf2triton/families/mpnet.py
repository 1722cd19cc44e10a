"""MPNet: BERT with one bias of relative positions for all layers, and positions behind the padding token's."""

from .base import Family, NativeAttention, positions_after_padding
from .common.texts import HEADLESS, TABLES, architectures_of

FAMILY = Family(
    name="mpnet",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures=architectures_of("MPNet"),
    headless=HEADLESS,
    max_positions=positions_after_padding,
    attention=NativeAttention(
        module="MPNetSelfAttention", projections=("q", "k", "v"), heads="num_attention_heads", output="o", bias="shared"
    ),
    # the pooler serves no task here
    base_arguments={"add_pooling_layer": False},
    tables=TABLES,
    heads={
        "text-classification": "classifier.out_proj.weight",
        "token-classification": "classifier.weight",
        "question-answering": "qa_outputs.weight",
        "fill-mask": "lm_head.dense.weight",
    },
    leftover=(
        r"embeddings\.position_ids",
        r"pooler\.dense\.(weight|bias)",
        r"lm_head\..*",
        r"classifier\.((dense|out_proj)\.)?(weight|bias)",
        r"qa_outputs\.(weight|bias)",
    ),
)
