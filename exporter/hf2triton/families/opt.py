"""OPT: its table of positions has two more rows than texts have tokens; norms may follow, and embeddings may be narrower."""

from .base import DecoderSpec, Family

FAMILY = Family(
    name="opt",
    inputs={"text": ("input_ids", "attention_mask")},
    architectures={"OPTForCausalLM": ("text-generation",)},
    decoder=DecoderSpec(),
    tables={"input_ids": ("embed_tokens.weight", "vocab_size")},
)
