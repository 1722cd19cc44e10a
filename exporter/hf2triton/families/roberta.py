"""RoBERTa: BERT with byte-level tokens, trained without token types."""

from .common.after_padding import family_after_padding

FAMILY = family_after_padding("roberta", "Roberta")
