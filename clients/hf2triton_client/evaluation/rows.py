"""Reads rows with named columns: JSON lines, JSON, CSV, or a folder of images by label."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError

Row = Mapping[str, Any]
#: Endings of the files that are read from a folder of images.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, read by its ending, or the images of a folder. Raises InputError if there are none."""
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    rows = _images_by_label(path) if path.is_dir() else _rows(path)
    if not rows:
        raise InputError(f"{path} holds no {'images' if path.is_dir() else 'rows'}")
    return rows


def _rows(path: Path) -> list[Row]:
    ending = path.suffix.lower()
    if ending not in _READERS:
        known = ", ".join(_READERS)
        raise InputError(f"{path} is read by its ending, which can be {known}; or give a folder of images")
    try:
        # bytes, because reading text would change line ends within quotes
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        rows = _READERS[ending](text)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as {ending[1:]}: {error}") from error
    if not isinstance(rows, list):
        raise InputError(f"{path} should hold a list of rows with named columns, not {_json_type(rows)}")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(f"row {index} of {path} should have named columns, and is {_json_type(row)}")
    return rows


def _json_lines(text: str) -> list[Any]:
    rows = []
    # not splitlines, which would also split at U+2028 and similar characters within strings
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    return rows


def _csv(text: str) -> list[Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row:
                raise ValueError(f"more cells than columns ({len(reader.fieldnames or ())}); a comma needs quotes")
            rows.append(row)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"line {reader.reader.line_num}: {error}") from None
    return rows


_READERS: Mapping[str, Callable[[str], Any]] = {".jsonl": _json_lines, ".json": json.loads, ".csv": _csv}


def _json_type(value: Any) -> str:
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def _images_by_label(folder: Path) -> list[Row]:
    """The images of a folder whose subfolders are named after their labels. Hidden files are ignored."""
    rows: list[Row] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() in IMAGE_ENDINGS and not any(part.startswith(".") for part in relative.parts):
            label = {"label": relative.parts[0]} if len(relative.parts) > 1 else {}
            rows.append({"image": str(relative), **label})
    return rows
