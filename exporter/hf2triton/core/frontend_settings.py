"""The settings that a frontend reads when it starts: the front.json of each version. In the exporter, only this module reads and
writes the file; inside Triton, frontends read it themselves.

The fields have the names and the order of the JSON keys.
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
    """How calls are planned. `call_price`: call overhead in tokens. `max_rows`, `max_tokens`: limits of a call. `round_to`:
    lengths are padded to multiples of it."""

    call_price: int
    max_rows: int
    max_tokens: int
    round_to: int = 1


@dataclass(frozen=True, kw_only=True)
class GraphModel(Record):
    """The graph is a separate model; the frontend calls a version of it."""

    model: str
    model_version: int


@dataclass(frozen=True, kw_only=True)
class GraphFile(Record):
    """The frontend runs the graph itself. `graph`: its file in the version's folder."""

    graph: str


@dataclass(frozen=True, kw_only=True)
class EncoderSettings(Record):
    """The settings of a frontend that answers at once, see `triton_models/frontend.py`. `outputs`: output -> what each of its
    values belongs to ("row", "token" or "mask"). `reader`: the settings of its preprocessor."""

    outputs: Mapping[str, str]
    reader: Mapping[str, Any]
    limits: CallLimits
    runner: GraphModel | GraphFile


@dataclass(frozen=True, kw_only=True)
class DecoderSettings(Record):
    """The settings of a frontend that generates, see `triton_models/generation_frontend.py`. `context`: the longest text in
    tokens. `max_bytes`: the largest request. Both are 0 if not recorded."""

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
    """The content of front.json."""
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
