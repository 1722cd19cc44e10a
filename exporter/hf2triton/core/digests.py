"""Digests of files and contents: `sha256:` and hexadecimal digits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_of(path: Path) -> str:
    """The digest of a file."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def digest_of_bytes(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_of_content(content: bytes | Path) -> str:
    """The digest of bytes, or of a file's content."""
    return digest_of(content) if isinstance(content, Path) else digest_of_bytes(content)


def digest_of_path(path: Path) -> str:
    """The digest of a file, or of the names and contents of the files in a folder."""
    if not path.is_dir():
        return digest_of(path)
    return digest_of_json({file.name: digest_of(file) for file in sorted(path.iterdir()) if file.is_file()})


def digest_of_json(value: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}"
