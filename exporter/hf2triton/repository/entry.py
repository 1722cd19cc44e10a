"""Puts together the files of an entry: what is written for each of its fronts, before any of it reaches a repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from hf2triton_client.baseline import Baseline

from .. import __version__
from ..artifacts import Checkpoint, ExportOptions, ParityReport, StoredGraph
from ..baseline import reader_settings
from ..source import digest_of
from ..tasks import Part
from . import config as configs
from .layout import BASELINE, BASELINE_JSON, CONFIG, FRONT, GRAPH, MANIFEST, TOKENIZER, front_name, graph_model

FRONT_FILES = tuple(
    sorted(
        path.name
        for path in resources.files("hf2triton.repository.fronts").iterdir()
        if path.name.endswith(".py") and path.name != "__init__.py"
    )
)
#: Packages whose version can change what is exported or served.
_PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "optimum",
    "peft",
    "pillow",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Draft:
    """One front of an entry before it has a version. `call_price`: what one more call costs, in tokens."""

    options: ExportOptions
    runner: str
    checkpoint: Checkpoint
    part: Part
    stored: StoredGraph
    parity: ParityReport
    baseline: Baseline
    call_price: int

    @property
    def name(self) -> str:
        """The name of the front."""
        return front_name(self.options.name, self.part)


@dataclass(frozen=True)
class ModelFiles:
    """One model folder to be written: `shared` beside config.pbtxt, `versioned` in the version's folder.

    Values are contents, or the path of a file to copy.
    """

    name: str
    config: str
    shared: Mapping[str, bytes]
    versioned: Mapping[str, bytes | Path]


def front_files(draft: Draft, version: int, workspace: Path) -> tuple[list[ModelFiles], dict[str, Any]]:
    """The model folders of a front, itself last, and its manifest. `workspace` holds what must be a file first."""
    options, checkpoint, part, graph = draft.options, draft.checkpoint, draft.part, draft.stored.graph
    preprocessing = _preprocessing_digest(draft)
    settings = configs.client_settings(checkpoint, part, graph, preprocessing, options.name)
    warmups = configs.warmup_inputs(part, draft.baseline.inputs)
    config = configs.to_text(
        configs.front_config(options, draft.runner, checkpoint.task, part, graph, settings, version, warmups)
    )
    about = {**draft.baseline.about, "name": draft.name, "version": version, "preprocessing": preprocessing}
    baseline = workspace / draft.name / BASELINE
    baseline.parent.mkdir()
    replace(draft.baseline, about=about).save(baseline)
    code = resources.files("hf2triton.repository.fronts")
    versioned: dict[str, bytes | Path] = {
        **{name: (code / name).read_bytes() for name in FRONT_FILES},
        FRONT: _json(_front_settings(draft, version)),
        CONFIG: config.encode(),
        BASELINE: baseline,
        BASELINE_JSON: baseline.with_suffix(".json"),
    }
    if part.modality == "text":
        versioned[TOKENIZER] = checkpoint.tokenizer.definition.encode()
    models = []
    if draft.runner == "bls":
        graph_config = configs.to_text(configs.graph_config(options, part, graph))
        models.append(ModelFiles(graph_model(draft.name), graph_config, {}, {GRAPH: draft.stored.path}))
    else:
        versioned[GRAPH] = draft.stored.path
    manifest = _manifest(draft, version, preprocessing, {**versioned, GRAPH: draft.stored.path})
    versioned[MANIFEST] = _json(manifest)
    warmup = configs.warmup_files(warmups) if draft.runner == "inprocess" else {}
    return [*models, ModelFiles(draft.name, config, warmup, versioned)], manifest


def _front_settings(draft: Draft, version: int) -> dict[str, Any]:
    """What the front reads at its start, see `fronts/model.py`."""
    options = draft.options
    runner = {"model": graph_model(draft.name), "model_version": version} if draft.runner == "bls" else {"graph": GRAPH}
    return {
        "outputs": {output.name: output.per for output in draft.stored.graph.outputs},
        # tensor cores want multiples of 8; on a CPU they would only be padding
        "reader": reader_settings(draft.checkpoint, draft.part, round_to=1 if options.device == "cpu" else 8),
        "limits": {
            "call_price": draft.call_price,
            "max_rows": options.max_batch_size,
            "max_tokens": configs.MAX_TOKENS,
            "round_to": 1 if options.device == "cpu" else 8,
        },
        "runner": runner,
    }


def _manifest(draft: Draft, version: int, preprocessing: str, files: Mapping[str, bytes | Path]) -> dict[str, Any]:
    options, checkpoint, graph = draft.options, draft.checkpoint, draft.stored.graph
    model = graph.model
    return {
        "format": 1,
        "name": draft.name,
        "version": version,
        "exported_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "task": checkpoint.task.name,
        "family": checkpoint.family.name,
        "source": {
            "given": checkpoint.source.given,
            "revision": checkpoint.source.revision,
            "digests": dict(checkpoint.source.digests),
        },
        "adapter": checkpoint.adapter,
        "graph": {
            "precision": graph.precision,
            "full_precision_nodes": sorted(graph.full_precision) if graph.precision != "fp32" else [],
            "attention": graph.attention,
            "opset": dict(model.opset_imports),
            "ir_version": model.ir_version,
            "release": options.release,
        },
        "serving": {
            "device": options.device,
            "runner": draft.runner,
            "max_batch_size": options.max_batch_size,
            "call_price_tokens": draft.call_price,
        },
        "preprocessing": preprocessing,
        "parity": draft.parity.to_json(),
        "packages": {"hf2triton": __version__, **{name: _version(name) for name in _PACKAGES}},
        "files": {name: _digest(content) for name, content in sorted(files.items())},
    }


def _preprocessing_digest(draft: Draft) -> str:
    """Identifies how what callers send becomes the graph's inputs: the reader's settings and the tokenizer."""
    settings = json.dumps(reader_settings(draft.checkpoint, draft.part), sort_keys=True)
    definition = draft.checkpoint.tokenizer.definition if draft.part.modality == "text" else ""
    return _digest(f"{settings}\n{definition}".encode())


def _digest(content: bytes | Path) -> str:
    return digest_of(content) if isinstance(content, Path) else f"sha256:{hashlib.sha256(content).hexdigest()}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
