"""What a frontend reads at its start: the front.json of each version. The exporter reads and writes it here alone; inside Triton
frontends read it by themselves.

The names and the order of the fields are those of the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RepositoryError
from .json_files import json_bytes
from .layout import FRONT
from .record import Record


@dataclass(frozen=True, kw_only=True)
class CallLimits(Record):
    """How calls are planned. `call_price`: what one more call costs, in tokens. `max_rows`, `max_tokens`: of one call.
    `round_to`: lengths are padded to multiples of it."""

    call_price: int
    max_rows: int
    max_tokens: int
    round_to: int = 1


@dataclass(frozen=True, kw_only=True)
class GraphModel(Record):
    """The graph is a model of its own, of which the frontend calls a version."""

    model: str
    model_version: int


@dataclass(frozen=True, kw_only=True)
class GraphFile(Record):
    """The frontend runs the graph itself: its file in the version's folder."""

    graph: str


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(Record):
    """Of a frontend that answers at once, see `triton_models/frontend.py`. `outputs`: output → what there is one of it for.
    `reader`: what its preprocessor is made with."""

    outputs: Mapping[str, str]
    reader: Mapping[str, Any]
    limits: CallLimits
    runner: GraphModel | GraphFile


@dataclass(frozen=True, kw_only=True)
class DecoderSettings(Record):
    """Of a frontend that generates, see `triton_models/generation_frontend.py`. `context`: the longest text in tokens, and
    `max_bytes`: the largest request; 0 where they are not recorded."""

    graph: str
    in_place: bool = False
    onnxruntime: str = ""
    context: int = 0
    max_bytes: int = 0
    clean_up: bool = False
    generation: Mapping[str, Any]
    parameters: Sequence[str] = ()


FrontendSettings = EncoderSettings | DecoderSettings


def settings_bytes(settings: FrontendSettings) -> bytes:
    """The content of the file."""
    return json_bytes(settings.to_json())


def read_settings(folder: Path) -> FrontendSettings:
    """The settings of the version in a folder. Raises RepositoryError."""
    path = folder / FRONT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, Mapping) and "generation" in content:
            return DecoderSettings.from_json(content)
        return EncoderSettings.from_json(content)
    except (OSError, ValueError) as error:
        raise RepositoryError(f"{path} cannot be read: {error}") from error


def read_encoder_settings(folder: Path) -> EncoderSettings:
    """The settings of a version that answers at once. Raises RepositoryError."""
    settings = read_settings(folder)
    if isinstance(settings, DecoderSettings):
        raise RepositoryError(f"{folder / FRONT} is that of a frontend that generates")
    return settings


def read_decoder_settings(folder: Path) -> DecoderSettings:
    """The settings of a version that generates. Raises RepositoryError."""
    settings = read_settings(folder)
    if isinstance(settings, EncoderSettings):
        raise RepositoryError(f"{folder / FRONT} is that of a frontend that does not generate")
    return settings
