"""Exports entries again in the precisions to compare, with the options from their manifests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..checkpoint.adapters.files import CONFIG
from ..core.json_files import read_json
from ..tasks import TASKS
from .plan import BenchOptions, MeasuredFrontend


def export_precisions(
    options: BenchOptions, frontends: Sequence[MeasuredFrontend], repository: Path, progress: Callable[[str], None]
) -> tuple[list[str], dict[str, str]]:
    """The names of the new entries, `NAME-PRECISION`, and the reasons why others could not be exported."""
    names, lost = [], {}
    for name, frontend in _entries(frontends).items():
        for precision in options.precisions:
            progress(f"export {name} in {precision}")
            new = f"{name}-{precision}"
            # in its own process: PyTorch's threads would disturb later measurements
            command = [sys.executable, "-m", "hf2triton", "export", *_arguments(options, frontend, new, precision)]
            done = subprocess.run([*command, "--repository", str(repository)], capture_output=True, text=True)
            if done.returncode:
                lines = done.stderr.strip().splitlines() or [f"the export ended with {done.returncode}"]
                lost[new] = lines[-1].removeprefix("hf2triton: ")
            else:
                names.append(new)
    return names, lost


def _entries(frontends: Sequence[MeasuredFrontend]) -> dict[str, MeasuredFrontend]:
    """The entries that frontends belong to, each with one of its frontends."""
    several = [frontend for frontend in frontends if len(TASKS[frontend.source.task].endpoints) > 1]
    return {
        (frontend.name.removesuffix(frontend.source.suffix) if frontend in several else frontend.name): frontend
        for frontend in frontends
    }


def _base_name(adapter: str | None) -> str | None:
    """The name of an adapter's base in the adapter's config, whatever its name here: the first export has already compared
    the names."""
    path = None if adapter is None else Path(adapter, CONFIG)
    if path is None or not path.is_file():
        return None
    return read_json(path, "").get("base_model_name_or_path") or None


def _arguments(options: BenchOptions, frontend: MeasuredFrontend, name: str, precision: str) -> list[str]:
    source, graph, serving = frontend.source, frontend.manifest.graph, frontend.manifest.serving
    files = {**(source.digests or {}), **(source.adapter_digests or {})}
    given = {
        "--name": name,
        "--task": source.task,
        "--precision": precision,
        "--adapter": source.adapter,
        "--base-name": _base_name(source.adapter),
        "--revision": source.revision,
        "--release": graph.release,
        "--attention": graph.attention,
        "--device": serving.device,
        "--runner": serving.runner,
        "--max-batch-size": serving.max_batch_size,
        "--threads": options.threads,
    }
    pickled = ["--allow-pickle"] if any(file.endswith(".bin") for file in files) else []
    return [
        source.given,
        *pickled,
        *(str(endpoint) for pair in given.items() if pair[1] is not None for endpoint in pair),
    ]
