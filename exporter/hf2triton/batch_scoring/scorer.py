"""Scores shards, in the process of a run or in workers on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from hf2triton_client import connect, pipeline

from .batch_client import Asker, Scored, in_order
from .columns import types_of
from .inputs import Input, InputReader, Row, Shard, Unreadable
from .options import SHARD_ENDINGS, ScoreOptions
from .plan import require_model
from .shards import Format, JsonLines, Parquet, shard_written
from .task_schemas import ScoringOptions, form_of


@dataclass(frozen=True)
class ScoringJob:
    """Everything that is needed to score any shard. `task`: the pipeline's task. `model`: the identity of the model that
    must answer. `columns`: the input's columns. `id`: the column that names a row, None for its number."""

    options: ScoreOptions
    url: str
    source: Input
    task: str
    model: Mapping[str, Any]
    columns: tuple[str, ...]
    id: str | None

    @cached_property
    def asked(self) -> ScoringOptions:
        """Raises UsageError."""
        return form_of(self.task, self.options, self.columns)

    @property
    def needed(self) -> frozenset[str]:
        """The columns that are read."""
        return frozenset({*([] if self.id is None else [self.id]), *self.options.keep, *self.asked.names.values()})


@dataclass(frozen=True)
class _Batch:
    """The rows of one call. `last`: its shard ends with this batch."""

    shard: Shard
    first: int
    rows: list[Row | Unreadable]
    last: bool


def format_of(job: ScoringJob) -> Format:
    """The format of the output. Raises UsageError."""
    options, asked = job.options, job.asked
    if SHARD_ENDINGS[options.output.suffix.lower()] == JsonLines.ending:
        return JsonLines()
    import pyarrow as pa

    return Parquet(asked.form.shape(pa, asked.options), asked.form.uniform, types_of(job.source, job.id, options.keep))


class Scorer:
    """Holds a connection to the server. Raises the client's errors."""

    def __init__(self, job: ScoringJob) -> None:
        options = job.options
        self._job = job
        self._connection = connect(job.url, timeout=options.timeout, headers=options.headers)
        try:
            self._pipeline = pipeline(options.task, model=options.name, connection=self._connection)
            self._asker = Asker(self._pipeline, job.asked, job.id, options.keep)
            self._format = format_of(job)
        except BaseException:
            self.close()
            raise

    def score(self, shards: Iterable[Shard], progress: Callable[[int], None] = lambda rows: None) -> Iterator[Shard]:
        """Writes each shard, then yields it. `progress`: called with the number of newly answered rows."""
        with InputReader(self._job.source, self._job.needed) as reader:
            answered = in_order(self._answer, self._batches(reader, shards), self._job.options.concurrency)
            try:
                for batch, rows in answered:
                    with shard_written(self._job.options.parts, batch.shard, self._format) as sink:
                        while True:
                            sink.write(rows)
                            progress(len(rows))
                            if batch.last:
                                break
                            batch, rows = next(answered)
                        require_model(self._job.model, self._connection, self._pipeline)
                    yield batch.shard
            finally:
                answered.close()

    def _answer(self, batch: _Batch) -> list[Scored]:
        return self._asker.scored(batch.rows, batch.first, self._job.source.base_of(batch.shard.file))

    def _batches(self, reader: InputReader, shards: Iterable[Shard]) -> Iterator[_Batch]:
        size = self._job.options.batch_size or self._pipeline.batch_size
        for shard in shards:
            rows = reader.rows(shard)
            for start in range(0, shard.rows, size):
                yield _Batch(shard, shard.first + start, list(islice(rows, size)), start + size >= shard.rows)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
