"""JSON files: a checkpoint's, and how we write ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import SourceError


def read_json(path: Path, missing: str) -> Any:
    """The content of a checkpoint's JSON file. Raises SourceError, with the text `missing` if there is no file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(missing) from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no file. Raises SourceError."""
    if not path.exists():
        return {}
    content = read_json(path, "")
    if not isinstance(content, dict):
        raise SourceError(f"{path} does not hold a JSON object")
    return content


def json_bytes(value: Any) -> bytes:
    """A value in the format of the JSON that we write."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
