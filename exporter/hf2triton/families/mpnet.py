"""MPNet: BERT with one bias of relative positions for all layers, and positions behind the padding token's."""

from .base import Family, NativeAttention, positions_after_padding

_HEADLESS = ("feature-extraction", "sentence-similarity")

FAMILY = Family(
    name="mpnet",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={
        "MPNetForSequenceClassification": ("text-classification", "zero-shot-classification"),
        "MPNetForTokenClassification": ("token-classification",),
        "MPNetForQuestionAnswering": ("question-answering",),
        "MPNetForMaskedLM": ("fill-mask",),
        "MPNetModel": _HEADLESS,
    },
    headless=_HEADLESS,
    max_positions=positions_after_padding,
    attention=NativeAttention(
        module="MPNetSelfAttention", projections=("q", "k", "v"), heads="num_attention_heads", output="o", bias="shared"
    ),
    # the pooler serves no task here
    base_arguments={"add_pooling_layer": False},
    tables={
        "input_ids": ("embeddings.word_embeddings.weight", "vocab_size"),
        "positions": ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    },
    heads={
        **dict.fromkeys(("text-classification", "zero-shot-classification"), "classifier.out_proj.weight"),
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
