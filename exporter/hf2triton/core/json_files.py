"""The JSON files of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import SourceError


def read_json(path: Path, missing: str) -> Any:
    """A JSON file of a checkpoint. Raises SourceError, with the text `missing` where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(missing) from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; empty where there is no such file. Raises SourceError."""
    if not path.exists():
        return {}
    content = read_json(path, "")
    if not isinstance(content, dict):
        raise SourceError(f"{path} holds no JSON object")
    return content


def json_bytes(value: Any) -> bytes:
    """As all JSON files of an entry are written."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
