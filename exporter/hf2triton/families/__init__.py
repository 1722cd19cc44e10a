"""The architectures we know. Adding one is a file here and its line in FAMILIES."""

from __future__ import annotations

from .base import Family
from .bert import BERT
from .distilbert import DISTILBERT

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT, DISTILBERT)}

__all__ = ["FAMILIES", "Family"]
