"""Entries of every shape, made from one export, and what is to be true of a repository at any moment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hf2triton.core.layout import entries, served_version, versions
from hf2triton.core.manifest import served_manifest
from hf2triton.repository.add_entry import publish
from hf2triton.repository.integrity import damages

#: How an entry can look: one model, a frontend and a graph behind it, or two frontends.
SHAPES = ("plain", "behind", "pair")

#: What may be while a publisher is at work, or after it was killed.
_OPEN = ("is not the served version's", "_model/config.pbtxt was changed")


def export(staged, repository: Path, shape: str, max_batch_size: int = 32) -> None:
    """Puts an entry of a shape, named after it, into a repository. Those of different sizes differ."""
    options = {"name": shape, "max_batch_size": max_batch_size}
    if shape == "pair":
        publish(staged.pair(repository, **options))
    else:
        publish([staged(repository, "bls" if shape == "behind" else "inprocess", **options)])


def served_sizes(repository: Path, interrupted: bool = False) -> dict[str, tuple[int, int]]:
    """Front -> its version and the size it was exported with. What is served must be whole: asserts that. `interrupted`: what is
    shown beside a config for whoever looks, and no server reads, may be of the version before or after, and the config of a graph
    may suit both."""
    found = {}
    for frontend in entries(repository):
        manifest = served_manifest(repository, frontend)
        seen = [
            one
            for one in damages(repository, frontend, manifest)
            if not (interrupted and any(map(one.endswith, _OPEN)))
        ]
        assert seen == [], frontend
        if manifest.has_graph_model:
            config = (repository / f"{frontend}_model" / "config.pbtxt").read_text()
            largest = int(re.search(r"max_batch_size: (\d+)", config)[1])
            assert largest >= manifest.serving.max_batch_size, "the frontend sends batches that the graph takes"
            assert served_version(repository, frontend) in versions(repository / f"{frontend}_model")[-2:]
        found[frontend] = (served_version(repository, frontend), manifest.serving.max_batch_size)
    return found


def frontends(shape: str) -> list[str]:
    return [f"{shape}_text", f"{shape}_image"] if shape == "pair" else [shape]


def run_killed(how: str, what: str, source: Path, dest: Path, workspace: Path) -> list[dict[str, Any]]:
    """What `killed.py` saw, one dict a step: at the last nothing was stopped."""
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), how, what, *map(str, (source, dest, workspace))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    seen = [json.loads(line) for line in result.stdout.splitlines()]
    assert [step["stopped"] for step in seen] == [True] * (len(seen) - 1) + [False]
    return seen
