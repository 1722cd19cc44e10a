"""The supported architectures, by `model_type`. To add an architecture, add one file here."""

from __future__ import annotations

from ..discovery import rows_of
from .base import DecoderSpec, Family, table_rows

FAMILIES: dict[str, Family] = {family.name: family for family in rows_of(__name__, "FAMILY", Family)}

__all__ = ["FAMILIES", "DecoderSpec", "Family", "table_rows"]
