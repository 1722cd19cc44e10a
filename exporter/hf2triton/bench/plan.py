"""Plans the measurements: the named frontends, in groups that answer the same question, each with its contenders and loads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.loadgen.results import Load

from ..checkpoint.adapters.files import is_adapter
from ..core.layout import BASELINE, frontends_of, graph_file
from ..core.manifest import Manifest, served_manifest
from ..engines.common.devices import devices
from ..errors import UsageError
from ..tasks import TASKS
from .contenders import CONTENDERS, ContenderKind, contenders_of
from .inputs import TEXTS, Batch, inputs_of_length
from .job import BenchJob, Inputs, JobSource

#: A length for inputs that are used unchanged.
MIXED = None


@dataclass(frozen=True)
class BenchOptions:
    """The user's options. `lengths`: tokens of each text, or MIXED. `rates`: calls per second of open loops. `threads`: 0
    for one per core. `devices`: where in-process contenders run; empty for all devices of this machine. `precisions`:
    precisions in which the entries' sources are exported first; empty to measure the served models unchanged. `headers`: sent
    with each call to the server."""

    names: tuple[str, ...]
    url: str = "localhost:8001"
    repository: Path = Path("model_repository")
    source: str | None = None
    adapter: str | None = None
    precisions: tuple[str, ...] = ()
    concurrencies: tuple[int, ...] = (1, 8)
    batch_sizes: tuple[int, ...] = (1,)
    lengths: tuple[int | None, ...] = (MIXED,)
    rates: tuple[float, ...] = ()
    seconds: float = 5.0
    warm_up: float = 1.0
    rounds: int = 3
    threads: int = 0
    compile: bool = False
    contenders: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def cores(self) -> int:
        """The threads of one call, for in-process contenders."""
        return self.threads or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class MeasuredFrontend:
    """A frontend of an entry, and the checkpoint behind it. `graph_model`: its graph is a separate model."""

    name: str
    folder: Path
    graph: Path
    manifest: Manifest
    source: JobSource

    @property
    def precision(self) -> str:
        return self.manifest.graph.precision

    @property
    def has_graph_model(self) -> bool:
        return self.manifest.has_graph_model


@dataclass(frozen=True)
class Group:
    """Frontends that return the same answers, and their contenders. `missing`: contender -> why it does not apply."""

    task: str
    inputs: str
    frontends: tuple[MeasuredFrontend, ...]
    jobs: tuple[BenchJob, ...]
    missing: Mapping[str, str] = field(default_factory=dict)


def frontends_named(options: BenchOptions, names: Sequence[str]) -> list[MeasuredFrontend]:
    """The frontends of the entries with these names. Raises RepositoryError."""
    return [_frontend(options, frontend) for name in names for frontend in frontends_of(options.repository, name)]


def groups_of(options: BenchOptions, frontends: Sequence[MeasuredFrontend]) -> list[Group]:
    """Groups frontends of the same task and source, which are compared with each other. Raises UsageError and UnknownName."""
    kinds = contenders_of(options.contenders, options.compile)
    together: dict[Any, list[MeasuredFrontend]] = {}
    for frontend in frontends:
        source = frontend.source
        digests = [sorted((given or {}).items()) for given in (source.digests, source.adapter_digests)]
        together.setdefault(str((source.task, source.suffix, source.given, source.adapter, digests)), []).append(
            frontend
        )
    return [_group(options, kinds, own) for own in together.values()]


def label(job: BenchJob, several: bool) -> str:
    """The name of a contender that could not take part. `several`: there is more than one model."""
    kind, more = CONTENDERS[job.contender], []
    if several and kind.needs != "source":
        more.append(job.model)
    if job.device != "cpu":
        more.append(job.device)
    return f"{kind.name} ({', '.join(more)})" if more else kind.name


def needs_server(options: BenchOptions) -> bool:
    return any(kind.needs == "server" for kind in contenders_of(options.contenders, options.compile))


def _frontend(options: BenchOptions, name: str) -> MeasuredFrontend:
    manifest = served_manifest(options.repository, name)
    version = manifest.version
    folder = options.repository / name / str(version)
    return MeasuredFrontend(
        name, folder, graph_file(options.repository, name, version), manifest, _source(options, name, manifest)
    )


def _source(options: BenchOptions, name: str, manifest: Manifest) -> JobSource:
    """The source that the user named, or the source that the entry was exported from."""
    endpoints = TASKS[manifest.task].endpoints
    suffix = next(endpoint.suffix for endpoint in endpoints if name.endswith(endpoint.suffix))
    given, merged = manifest.source, manifest.adapter
    own = JobSource(given.given, given.revision, manifest.task, suffix, given.digests)
    if merged is not None:
        own = replace(own, adapter=merged.given, adapter_digests=merged.digests)
    if options.source is not None:
        own = replace(own, given=options.source, revision=None, digests=None)
        if is_adapter(Path(options.source)):
            raise UsageError(f"{options.source} is an adapter: give its base with --source, and it with --adapter")
    if options.adapter is not None:
        own = replace(own, adapter=options.adapter, adapter_digests=None)
    return own


def _group(options: BenchOptions, kinds: Sequence[ContenderKind], frontends: Sequence[MeasuredFrontend]) -> Group:
    first = frontends[0]
    task = TASKS[first.source.task]
    given = Baseline.load(first.folder / BASELINE).inputs
    loads = loads_of(options, given)
    for frontend in frontends:
        _check(options, frontend)
    lengths = sorted({load.length for load in loads if load.length is not None})
    of_length = {str(length): inputs_of_length(first.folder, length) for length in lengths}
    jobs, missing = [], {}
    for kind in kinds:
        for frontend in frontends if kind.needs != "source" else [first]:
            served_on = (frontend.manifest.serving.device,)
            for device in served_on if kind.needs == "server" else options.devices or devices():
                job = _job(options, kind, frontend, device, loads, of_length)
                if task.generates and kind.decoder is None:
                    missing[label(job, len(frontends) > 1)] = kind.because
                else:
                    jobs.append(job)
    return Group(task.name, _in_words(given, lengths), tuple(frontends), tuple(jobs), missing)


def loads_of(options: BenchOptions, given: Batch) -> tuple[Load, ...]:
    """The loads, closed loops first. Images have no length."""
    lengths = (MIXED,) if "image" in given else options.lengths
    ways = [(concurrency, None) for concurrency in options.concurrencies] + [(None, rate) for rate in options.rates]
    return tuple(
        Load(batch_size, length, concurrency, rate)
        for length, batch_size, (concurrency, rate) in product(lengths, options.batch_sizes, ways)
    )


def _check(options: BenchOptions, frontend: MeasuredFrontend) -> None:
    """Raises UsageError for batches that a model does not accept."""
    largest = max(options.batch_sizes)
    if TASKS[frontend.source.task].generates:
        if largest > 1:
            raise UsageError(f"a call of {frontend.name} is one prompt: ask for several at a time with --concurrency")
        return
    most = frontend.manifest.serving.max_batch_size
    if largest > most:
        raise UsageError(f"{frontend.name} takes at most {most} items a call, not {largest}")


def _job(
    options: BenchOptions,
    kind: ContenderKind,
    frontend: MeasuredFrontend,
    device: str,
    loads: tuple[Load, ...],
    of_length: Mapping[str, Inputs],
) -> BenchJob:
    return BenchJob(
        contender=kind.key,
        device=device,
        model=frontend.name,
        precision=frontend.precision,
        folder=str(frontend.folder.resolve()),
        graph=str(frontend.graph.resolve()),
        url=options.url,
        source=frontend.source,
        threads=options.cores,
        loads=loads,
        seconds=options.seconds,
        warm_up=options.warm_up,
        round=0,
        of_length=of_length,
        headers=options.headers,
    )


def _in_words(given: Batch, lengths: Sequence[int]) -> str:
    count = len(next(iter(given.values())))
    what = "images" if "image" in given else "prompts" if "text_input" in given else "texts"
    made = f"; for fixed lengths {TEXTS} made of them" if lengths else ""
    return f"the {count} {what} of the recorded baseline, in one random order{made}"
