"""A run: finds out what to do and what is already done, does the rest, and writes the output."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from hf2triton_client import connect, pipeline
from hf2triton_client.errors import ClientError

from ..errors import ScoringError, UsageError
from .columns import columns_of, require_columns
from .inputs import cut, open_input
from .options import ScoreOptions
from .plan import PLAN, ScoringPlan, about, alone, clear, identity, read_plan, remove, require_same
from .scorer import Scorer, ScoringJob, format_of
from .shards import Format, done_in, shard_path, sync_folder, written

#: Called with the number of finished rows and the total number.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Summary:
    """What a run did. `rows`, `errors`: of the whole output. `rows_before`: rows finished by earlier runs. `seconds`: of
    this run; `rows_per_second`: for the rows of this run."""

    model: str
    output: str
    rows: int
    errors: int
    rows_before: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        return (self.rows - self.rows_before) / self.seconds

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rows_per_second": self.rows_per_second}


def score(options: ScoreOptions, url: str, progress: Progress = lambda done, total: None) -> Summary:
    """Scores an input with the model at `url` (`host:port` of gRPC), or the rest of it if an earlier run was stopped. `progress`
    is called with the number of finished rows and the total number.

    Raises UsageError, ScoringError and the client's errors. Finished shards are then kept.
    """
    began, parts = time.perf_counter(), options.parts
    if options.ray is not None:
        import ray.data  # noqa: F401 – a missing Ray is noticed before the input is read
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with alone(parts), _disk_errors(options):
        try:
            before = _found(options)
            job = _job(options, url)
            plan = _plan(job, before)
        except BaseException:
            if not (parts / PLAN).exists():  # there was nothing to keep
                remove(parts)
            raise
        format = format_of(job)
        if plan.errors is not None:  # the output is in place
            done = set(range(len(plan.shards)))
        else:
            done = done_in(parts, format.ending)
            _score(job, plan, done, progress)
            plan = replace(plan, errors=_join(job, plan, format))
            plan.save(parts)
        remove(parts)
    rows_before = sum(shard.rows for shard in plan.shards if shard.number in done)
    seconds = time.perf_counter() - began
    return Summary(options.name, str(options.output), plan.rows, plan.errors or 0, rows_before, seconds)


@contextmanager
def _disk_errors(options: ScoreOptions) -> Iterator[None]:
    """Turns the system's errors into ours."""
    try:
        yield
    except ClientError:  # some of the client's errors are also OSErrors
        raise
    except OSError as error:
        raise _kept(options, error) from error


def _kept(options: ScoreOptions, error: Exception) -> ScoringError:
    return ScoringError(f"{error}; what is done is kept in {options.parts}: the same command continues from there")


def _found(options: ScoreOptions) -> ScoringPlan | None:
    """The plan of a stopped run, whose half-written files are deleted. Raises UsageError if the output exists without a
    plan."""
    parts = options.parts
    if options.restart:
        clear(parts)
    plan = read_plan(parts)
    if plan is not None and plan.errors is not None and not options.output.exists():
        plan = None  # the run was complete, and its output has been removed since
    if plan is None:
        clear(parts)
        if options.output.exists() and not options.restart:
            raise UsageError(
                f"{options.output} exists: remove it, give another OUTPUT, or --restart, which replaces it"
            )
    clear(parts, lambda path: path.suffix != ".new")
    return plan


def _job(options: ScoreOptions, url: str) -> ScoringJob:
    """The job to do. Raises UsageError and the client's errors."""
    source = open_input(options.input, options.parts)
    if next(cut(source, 1), None) is None:
        raise UsageError(f"{options.input} holds no rows")
    present = columns_of(source)
    id = options.id or ("id" if "id" in present else None)
    require_columns(present, [*([] if id is None else [id]), *options.keep])
    with connect(url, timeout=options.timeout, headers=options.headers) as connection:
        served = pipeline(options.task, model=options.name, connection=connection)
        return ScoringJob(options, url, source, served.task, identity(connection, served), present, id)


def _plan(job: ScoringJob, before: ScoringPlan | None) -> ScoringPlan:
    """The plan of the stopped run, or a new one. Raises UsageError and the client's errors."""
    options, said = job.options, about(job.options, job.source, job.model)
    if before is not None:
        require_same(before.about, said, options)
        return before
    with Scorer(job):  # errors in the options are noticed before the input is read
        plan = ScoringPlan(said, tuple(cut(job.source, options.shard_size)))
    plan.save(options.parts)
    return plan


def _score(job: ScoringJob, plan: ScoringPlan, done: set[int], progress: Progress) -> None:
    """Writes the missing shards. Raises ScoringError."""
    options, left = job.options, [shard for shard in plan.shards if shard.number not in done]
    answered = plan.rows - sum(shard.rows for shard in left)

    def advance(rows: int) -> None:
        nonlocal answered
        answered += rows
        progress(answered, plan.rows)

    advance(0)
    try:
        if options.ray is not None and left:
            from .cluster import score_on_ray

            score_on_ray(job, left, advance)
        else:
            with Scorer(job) as scorer:
                for _ in scorer.score(left, advance):
                    pass
    except (ClientError, ScoringError, OSError) as error:
        raise _kept(options, error) from error


def _join(job: ScoringJob, plan: ScoringPlan, format: Format) -> int:
    """Writes the output. Returns how many of its rows are errors. Raises ScoringError."""
    options = job.options
    if open_input(options.input, options.parts).fingerprint != job.source.fingerprint:
        raise ScoringError(f"{options.input} was changed while it was scored; --restart starts anew")
    shards = [(shard_path(options.parts, shard.number, format.ending), shard.rows) for shard in plan.shards]
    joined = options.parts / f"output{options.output.suffix}"
    with written(joined) as file:
        errors = format.join(shards, file)
    joined.replace(options.output)
    sync_folder(options.output.parent)  # before the shards are removed
    return errors
