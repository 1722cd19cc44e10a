"""GPT-Neo: every other layer attends to a window of the last positions, and scores are not scaled."""

from collections.abc import Sequence
from typing import Any

from .base import DecoderSpec, Family


def _windows(config: Any) -> Sequence[int | None]:
    return [config.window_size if kind == "local" else None for kind in config.attention_layers]


FAMILY = Family(
    name="gpt_neo",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={"GPTNeoForCausalLM": ("text-generation",)},
    decoder=DecoderSpec(
        windows=_windows,
        attention_method="_attn",
        scaling=1.0,
        fp32_scores=lambda config: True,  # unscaled scores overflow fp16
    ),
    tables={"input_ids": ("wte.weight", "vocab_size"), "positions": ("wpe.weight", "max_position_embeddings")},
    leftover=(r"h\.\d+\.attn\.attention\.(bias|masked_bias)",),  # the causal mask
)
