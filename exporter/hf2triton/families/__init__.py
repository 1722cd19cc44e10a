"""The architectures we know. Adding one is a file here and its line in FAMILIES."""

from __future__ import annotations

from .base import Family, table_rows
from .bert import BERT
from .clip import CLIP
from .distilbert import DISTILBERT
from .gpt2 import GPT2
from .vit import VIT

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT, DISTILBERT, GPT2, VIT, CLIP)}

__all__ = ["FAMILIES", "Family", "table_rows"]
