"""GPT-2."""

from operator import attrgetter

from .base import DecoderSpec, Family

FAMILY = Family(
    name="gpt2",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={"GPT2LMHeadModel": ("text-generation",), "GPT2DoubleHeadsModel": ("text-generation",)},
    max_positions=attrgetter("n_positions"),
    decoder=DecoderSpec(
        fp32_scores=attrgetter("reorder_and_upcast_attn"),
        unsupported={"add_cross_attention": "the model attends to an encoder"},
    ),
    tables={"input_ids": ("wte.weight", "vocab_size"), "positions": ("wpe.weight", "n_positions")},
    leftover=(
        r"h\.\d+\.attn\.(bias|masked_bias)",  # the causal mask
        r"multiple_choice_head\.summary\.(weight|bias)",
        r"v_head\.summary\.(weight|bias)",  # from reinforcement learning with trl
    ),
)
