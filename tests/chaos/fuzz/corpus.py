"""The examples that are kept: one JSON file each, with what it did once."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path

from .example import CORPUS, EXPECTATIONS, Example


def load(folder: Path = CORPUS) -> dict[str, Example]:
    """Name -> example. Raises ValueError for one that does not say what it is for."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        example = Example(**json.loads(path.read_text(encoding="utf-8")))
        if example.expect not in EXPECTATIONS or not example.why:
            raise ValueError(f"{path}: it says neither why it is kept nor what is expected of it")
        found[path.stem] = example
    return found


def keep(example: Example, why: str, folder: Path = CORPUS) -> None:
    """Writes an example that broke something, unless one is there that did the same to the same task."""
    content = {**asdict(example), "why": example.why or why}
    digest = hashlib.sha256(_signature(content["why"]).encode()).hexdigest()[:10]
    path = folder / f"found-{example.task}-{digest}.json"
    if not path.exists():
        path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


def _signature(why: str) -> str:
    """What is the same of problems that have the same cause: their beginning, without numbers and names."""
    return " ".join(re.findall(r"[A-Za-z]{3,}", why)[:12])
