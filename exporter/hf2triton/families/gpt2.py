"""GPT-2."""

from .base import Family

GPT2 = Family(
    name="gpt2",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={
        "GPT2LMHeadModel": ("text-generation",),
        "GPT2DoubleHeadsModel": ("text-generation",),
    },
    max_positions="n_positions",
    embedding="wte",
)
