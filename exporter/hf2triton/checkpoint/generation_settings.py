"""Reads how a checkpoint generates, and checks that this can be served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.json_files import read_object
from ..core.source import Source
from ..errors import SourceError


def check_generation(folder: Path) -> None:
    """Checks generation_config.json before transformers reads it, which ignores what it cannot read. Raises SourceError."""
    path = folder / "generation_config.json"
    _require_supported(read_object(path), path)


def generation_of(model: Any, source: Source) -> dict[str, Any]:
    """The settings in a loaded model's generation config, or in its config if it has none. A generation config in another
    folder is first set on the model. Raises SourceError."""
    if "generation" in source.elsewhere:
        from transformers import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(source.generation_folder, local_files_only=True)
    config = {name: value for name, value in model.generation_config.to_dict().items() if value is not None}
    _require_supported(config, source.given)
    return config


def _require_supported(config: Mapping[str, Any], where: object) -> None:
    """Raises SourceError for settings that cannot be served, such as beams, and for bad values."""
    from ..triton_models.generation.settings import Settings

    try:
        Settings.of_checkpoint(config)
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from error
