"""CamemBERT: RoBERTa with SentencePiece tokens of French."""

from .common.after_padding import family_after_padding

FAMILY = family_after_padding("camembert", "Camembert")
