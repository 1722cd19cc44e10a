"""Runs a benchmark: each contender in its own process, and all of them in each round, so disturbances of the machine affect
all of them equally."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hf2triton_client import connect
from hf2triton_client.loadgen.load import Sample, median_of
from hf2triton_client.loadgen.results import Benchmark, Contender, Load, Measurement
from hf2triton_client.report.io import new_report
from hf2triton_client.report.model import Report
from hf2triton_client.transport.served_model import ServedModel

from ..errors import Hf2TritonError, RepositoryError
from . import memory
from .contenders import CONTENDERS
from .exporting import export_precisions
from .job import BenchJob, JobResult
from .plan import BenchOptions, Group, MeasuredFrontend, frontends_named, groups_of, label, needs_server

#: Seconds that a child may take in addition to its loads: to start, load, compile and warm up.
PATIENCE = 900
#: Seconds that a child may take to end when the benchmark is interrupted.
END_SECONDS = 10

Progress = Callable[[str], None]


class NothingMeasured(Hf2TritonError):
    """No contender could take part."""


def bench(options: BenchOptions, progress: Progress = lambda stage: None) -> Report:
    """Measures the entries, comparing those of each group.

    Raises UsageError for invalid requests, the errors of a connection if no server answers or the server does not have the
    model, and NothingMeasured. `Benchmark.missing` says why a single contender could not take part.
    """
    with _what_is_served(options, progress) as (options, lost):
        frontends = frontends_named(options, options.names)
        groups = groups_of(options, frontends)
        server = _check_served(options, frontends) if needs_server(options) else ""
        benchmarks = []
        for group in groups:
            measured = _measure(options, group, progress)
            benchmarks.append(replace(measured, missing={**measured.missing, **lost}))
    return new_report(server, benchmarks=benchmarks)


@contextmanager
def _what_is_served(options: BenchOptions, progress: Progress) -> Iterator[tuple[BenchOptions, dict[str, str]]]:
    """The options once the requested precisions are served, and the precisions that could not be exported."""
    if not options.precisions:
        yield options, {}
        return
    from ..serving import Server

    with tempfile.TemporaryDirectory(prefix="hf2triton-bench-") as folder:
        repository = Path(folder) / "model_repository"
        names, lost = export_precisions(options, frontends_named(options, options.names), repository, progress)
        if not names:
            raise NothingMeasured("; ".join(f"{name}: {why}" for name, why in lost.items()))
        progress("start Triton")
        with Server(repository, shared_memory=True) as server:
            yield replace(options, names=tuple(names), repository=repository, url=server.url), lost


def _check_served(options: BenchOptions, frontends: Sequence[MeasuredFrontend]) -> str:
    """The server's description of itself. Raises RepositoryError if its versions are not those of the repository."""
    with connect(options.url, retries=0, headers=options.headers) as connection:
        about = connection.server_name()
        for frontend in frontends:
            settings = ServedModel.from_config(connection.model_config(frontend.name)).settings
            for what, served, held in (
                ("precision", settings["precision"], frontend.precision),
                ("preprocessing", settings["preprocessing"], frontend.manifest.preprocessing),
            ):
                if served != held:
                    raise RepositoryError(
                        f"{about} does not serve the {frontend.name} of {options.repository}, whose {what} is {held}, not"
                        f" {served}: name the repository that it serves with --repository"
                    )
    return about


def _measure(options: BenchOptions, group: Group, progress: Progress) -> Benchmark:
    """Measures one group, in rounds. A contender that fails once is left out."""
    several = len(group.frontends) > 1
    missing = dict(group.missing)
    found: list[list[JobResult]] = [[] for _ in group.jobs]
    for turn in range(options.rounds):
        for job, results in zip(group.jobs, found, strict=True):
            name = label(job, several)
            if name in missing:
                continue
            progress(f"round {turn + 1} of {options.rounds}: {job.model}: {name}")
            result = run_child(replace(job, round=turn))
            if result.missing:
                missing[name] = result.missing
            results.append(result)
    contenders: list[Contender] = []
    measurements: list[Measurement] = []
    for job, results in zip(group.jobs, found, strict=True):
        name = label(job, several)
        if name in missing:
            continue
        samples = [median_of([result.samples[place] for result in results]) for place in range(len(job.loads))]
        if not any(sample.calls for sample in samples):
            missing[name] = f"every call failed: {next(sample.first_error for sample in samples)}"
            continue
        for load, sample in zip(job.loads, samples, strict=True):
            if sample.calls:
                measurements.append(_measurement(len(contenders), load, len(results), sample))
        contenders.append(_contender(options, group, job, results, samples))
    if not measurements:
        raise NothingMeasured("no contender could take part: " + "; ".join(f"{k}: {v}" for k, v in missing.items()))
    return Benchmark(
        group.task, group.inputs, options.rounds, options.seconds, tuple(contenders), tuple(measurements), missing
    )


def run_child(job: BenchJob) -> JobResult:
    """Measures a job in a new process and waits for it."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true"}
    if CONTENDERS[job.contender].needs != "server":
        pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
        environment |= dict.fromkeys(pools, str(job.threads))
    command = [sys.executable, "-m", "hf2triton.bench.child"]
    most = PATIENCE + len(job.loads) * 3 * (job.seconds + job.warm_up)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True) as process:
        try:
            told, errors = process.communicate(json.dumps(job.to_json()), timeout=most)
        except subprocess.TimeoutExpired:
            process.kill()
            return JobResult(missing=f"it had not ended after {most:.0f} s")
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        return JobResult(missing=f"its process ended with {process.returncode}: {last}")
    return JobResult.from_json(json.loads(told))


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a child, which first removes its shared memory."""
    process.terminate()
    try:
        process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _measurement(contender: int, load: Load, rounds: int, sample: Sample) -> Measurement:
    values = {name: value for name, value in vars(sample).items() if name != "first_error"}
    return Measurement(contender=contender, load=load, rounds=rounds, **values)


def _contender(
    options: BenchOptions, group: Group, job: BenchJob, results: Sequence[JobResult], samples: Sequence[Sample]
) -> Contender:
    """A contender for the report. The memory of a served model is that of the server's processes, which is known only on
    this machine."""
    kind, last = CONTENDERS[job.contender], results[-1]
    [frontend] = [frontend for frontend in group.frontends if frontend.name == job.model]
    taken: int | None = max(result.memory_bytes or 0 for result in results)
    if kind.needs == "server":
        taken = _served_bytes(options.url, frontend)
    return Contender(
        name=kind.name,
        model=job.model,
        precision=last.precision,
        device=job.device,
        threads=last.threads,
        weight_bytes=last.weight_bytes or frontend.manifest.parity.weight_bytes,
        memory_bytes=taken,
        remark="; ".join(filter(None, (last.remark, _errors_in_words(samples)))),
    )


def _served_bytes(url: str, frontend: MeasuredFrontend) -> int | None:
    if not memory.is_here(url):
        return None
    return memory.served_bytes(int(url.rpartition(":")[2]), frontend.name, frontend.has_graph_model)


def _errors_in_words(samples: Sequence[Sample]) -> str:
    errors = sum(sample.errors for sample in samples)
    first = next((sample.first_error for sample in samples if sample.first_error), "")
    return f"{errors} calls failed, the first with: {first}" if errors else ""
