"""The architectures we know. Adding one is a file here and its line in FAMILIES."""

from __future__ import annotations

from .base import Family
from .bert import BERT
from .clip import CLIP
from .distilbert import DISTILBERT
from .vit import VIT

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT, DISTILBERT, VIT, CLIP)}

__all__ = ["FAMILIES", "Family"]
