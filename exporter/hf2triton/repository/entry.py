"""Puts together the files of an entry: what is written for each of its fronts, before any of it reaches a repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from ..checkpoint.preprocessing import preprocessing_digest
from ..core.digests import digest_of_content
from ..core.json_files import json_bytes
from ..core.layout import BASELINE, BASELINE_JSON, CONFIG, FRONT, MANIFEST, TOKENIZER, graph_model
from ..core.packages import installed_versions
from ..core.precision_plan import KEY
from ..core.resolve import recorded_options
from .config import to_text
from .decoder_frontend import decoder_front
from .encoder_frontend import encoder_front
from .staged_entry import Draft, Front, ModelFiles

#: kind of graph -> what makes its front.
_FRONTS: Mapping[str, Callable[[Draft, int, str], Front]] = {"encoder": encoder_front, "decoder": decoder_front}


def front_files(draft: Draft, version: int, workspace: Path) -> tuple[list[ModelFiles], dict[str, Any]]:
    """The model folders of a front, itself last, and its manifest. `workspace` holds what must be a file first."""
    preprocessing = preprocessing_digest(draft.checkpoint, draft.part)
    front = _FRONTS[draft.part.kind](draft, version, preprocessing)
    config = to_text(front.config)
    baseline = workspace / draft.name / BASELINE
    baseline.parent.mkdir()
    about = {**draft.baseline.about, "name": draft.name, "version": version, "preprocessing": preprocessing}
    replace(draft.baseline, about=about).save(baseline)
    code = resources.files("hf2triton.triton_models")
    versioned: dict[str, bytes | Path] = {
        **{name: code.joinpath(*file.split("/")).read_bytes() for name, file in front.code.items()},
        **front.more,
        FRONT: json_bytes(front.settings),
        CONFIG: config.encode(),
        BASELINE: baseline,
        BASELINE_JSON: baseline.with_suffix(".json"),
    }
    if draft.part.modality == "text":
        versioned[TOKENIZER] = draft.checkpoint.tokenizer.definition.encode()
    models, graph_config = [], None
    if front.graph_config is not None:
        graph_config = to_text(front.graph_config)
        # its config once more, in the version's folder: for whoever goes back to the version
        files_behind = {**draft.stored.files, CONFIG: graph_config.encode()}
        models.append(ModelFiles(graph_model(draft.name), graph_config, front.graph_warmup, files_behind))
    else:
        versioned |= draft.stored.files
    files = {**versioned, **draft.stored.files}
    digest = None if graph_config is None else digest_of_content(graph_config.encode())
    manifest = _manifest(draft, version, preprocessing, files, digest)
    versioned[MANIFEST] = json_bytes(manifest)
    return [*models, ModelFiles(draft.name, config, front.warmup, versioned)], manifest


def _manifest(
    draft: Draft, version: int, preprocessing: str, files: Mapping[str, bytes | Path], graph_config: str | None
) -> dict[str, Any]:
    """`graph_config`: the digest of the config of the model that holds the graph, where that is another one."""
    options, checkpoint, graph = draft.options, draft.checkpoint, draft.stored.graph
    model = graph.model
    return {
        "format": 1,
        "name": draft.name,
        "entry": options.name,
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
        "options": recorded_options(options),
        "graph": {
            "precision": graph.precision,
            "attention": graph.attention,
            "opset": dict(model.opset_imports),
            "ir_version": model.ir_version,
            "release": options.release,
            "first_release": draft.stored.first_release,
        },
        "serving": {
            "device": options.device,
            "runner": options.runner,
            "max_batch_size": draft.max_batch_size,
            "memory": None if draft.memory is None else draft.memory.to_json(),
            "call_price_tokens": draft.call_price,
            "graph_config": graph_config,
        },
        "preprocessing": preprocessing,
        KEY: draft.stored.plan.to_json(),
        "parity": draft.parity.to_json(),
        "packages": installed_versions(),
        "files": {name: digest_of_content(content) for name, content in sorted(files.items())},
    }
