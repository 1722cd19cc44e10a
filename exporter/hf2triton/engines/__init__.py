"""The engines that run graphs, by the values of `--device`. To add an engine, add one file here."""

from __future__ import annotations

from ..discovery import rows_of
from .base import Engine

ENGINES: dict[str, Engine] = {engine.name: engine for engine in rows_of(__name__, "ENGINE", Engine)}

__all__ = ["ENGINES", "Engine"]
