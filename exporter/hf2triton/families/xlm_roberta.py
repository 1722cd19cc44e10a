"""XLM-RoBERTa: RoBERTa with SentencePiece tokens of a hundred languages; most multilingual embedders and rerankers."""

from .common.after_padding import family_after_padding

FAMILY = family_after_padding("xlm-roberta", "XLMRoberta")
