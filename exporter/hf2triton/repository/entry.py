"""Assembles the files of each of an entry's frontends before anything reaches a repository."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path

from hf2triton_client.evaluation.baseline import Baseline

from ..checkpoint.parts import tokenizer_of
from ..checkpoint.preprocessing import preprocessing_digest
from ..core.digests import digest_of_content
from ..core.frontend_settings import settings_bytes
from ..core.layout import BASELINE, BASELINE_JSON, CONFIG, FRONT, MANIFEST, TOKENIZER, graph_model
from ..core.manifest import AdapterAbout, GpuMemory, GraphAbout, Manifest, ParityAbout, ServingAbout, SourceAbout
from ..core.packages import installed_versions
from ..engines.common.resolve import recorded_options
from .config import to_text
from .decoder_frontend import decoder_frontend
from .encoder_frontend import encoder_frontend
from .staged_entry import FrontendFiles, ModelFiles, StagedEntry

#: kind of graph -> the function that makes its frontend.
_FRONTENDS: Mapping[str, Callable[[StagedEntry, int, str], FrontendFiles]] = {
    "encoder": encoder_frontend,
    "decoder": decoder_frontend,
}


def frontend_files(staged: StagedEntry, version: int) -> tuple[list[ModelFiles], Manifest]:
    """The model folders of a frontend, its own folder last, and its manifest."""
    preprocessing = preprocessing_digest(staged.checkpoint, staged.endpoint)
    frontend = _FRONTENDS[staged.endpoint.kind](staged, version, preprocessing)
    config = to_text(frontend.config)
    about = {**staged.baseline.about, "name": staged.name, "version": version, "preprocessing": preprocessing}
    baseline = replace(staged.baseline, about=about)
    code = resources.files("hf2triton.triton_models")
    versioned: dict[str, bytes | Path] = {
        **{name: code.joinpath(*file.split("/")).read_bytes() for name, file in frontend.code.items()},
        **frontend.more,
        FRONT: settings_bytes(frontend.settings),
        CONFIG: config.encode(),
        **_baseline_files(baseline),
    }
    if staged.endpoint.modality == "text":
        versioned[TOKENIZER] = tokenizer_of(staged.checkpoint).definition.encode()
    graph_config: str | None = None
    files_behind: dict[str, bytes | Path] = {}
    if frontend.graph_config is not None:
        graph_config = to_text(frontend.graph_config)
        # a second copy of its config, in the version's folder, for rollbacks to this version
        files_behind = {**staged.stored.files, CONFIG: graph_config.encode()}
    else:
        versioned |= staged.stored.files
    files = {**versioned, **staged.stored.files}
    digest = None if graph_config is None else digest_of_content(graph_config.encode())
    manifest = _manifest(staged, version, preprocessing, files, digest)
    versioned[MANIFEST] = manifest.to_bytes()
    own = ModelFiles(staged.name, config, frontend.warmup, versioned, manifest.files)
    if graph_config is None:
        return [own], manifest
    digests = {name: manifest.files[name] for name in staged.stored.files}
    name = graph_model(staged.name)
    return [ModelFiles(name, graph_config, frontend.graph_warmup, files_behind, digests), own], manifest


def _baseline_files(baseline: Baseline) -> dict[str, bytes]:
    """The files of PyTorch's answers."""
    with tempfile.TemporaryDirectory(prefix="hf2triton-") as folder:
        baseline.save(Path(folder) / BASELINE)
        return {name: (Path(folder) / name).read_bytes() for name in (BASELINE, BASELINE_JSON)}


def _manifest(
    staged: StagedEntry, version: int, preprocessing: str, files: Mapping[str, bytes | Path], graph_config: str | None
) -> Manifest:
    """`graph_config`: the digest of the graph model's config, if a separate model holds the graph."""
    options, checkpoint, graph = staged.options, staged.checkpoint, staged.stored.graph
    source, model = checkpoint.source, graph.model
    return Manifest(
        name=staged.name,
        entry=options.name,
        version=version,
        exported_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        task=checkpoint.task.name,
        family=checkpoint.family.name,
        source=SourceAbout(given=source.given, revision=source.revision, digests=dict(source.digests)),
        adapter=None if checkpoint.adapter is None else AdapterAbout.from_json(checkpoint.adapter),
        options=recorded_options(options),
        graph=GraphAbout(
            precision=graph.precision,
            attention=graph.attention,
            opset=dict(model.opset_imports),
            ir_version=model.ir_version,
            release=options.release,
            first_release=staged.stored.first_release,
        ),
        serving=ServingAbout(
            device=options.device,
            runner=options.runner,
            max_batch_size=staged.max_batch_size,
            memory=None if staged.memory is None else GpuMemory.from_json(staged.memory.to_json()),
            call_price_tokens=staged.call_overhead,
            graph_config=graph_config,
        ),
        preprocessing=preprocessing,
        precision_plan=staged.stored.plan.to_json(),
        parity=ParityAbout.from_json(staged.parity.to_json()),
        packages=installed_versions(),
        files={name: digest_of_content(content) for name, content in sorted(files.items())},
    )
