"""The options of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .inputs import TABLES, walk

#: Ending of OUTPUT -> ending of the files that hold its shards until they are joined.
SHARD_ENDINGS: Mapping[str, str] = {".jsonl": ".jsonl", ".parquet": ".arrow"}
#: The fields that every row of OUTPUT has, in addition to the kept columns.
OWN = ("id", "answer", "error")


@dataclass(frozen=True)
class ScoreOptions:
    """The options of a run. `name`: the served model. `input`: a `.jsonl` or `.parquet` file, a folder of either, or a folder of
    images. `output`: a `.jsonl` or `.parquet` file. `timeout`: seconds for each call. `task`: None for the task that the model
    serves. `restart`: discard what an earlier run has finished.

    `columns`: our name (text, context, image …) -> the input's name; "" stands for the task's first column. `id`: the column
    that names a row. `keep`: columns that are copied. `labels`: candidate labels of a zero-shot task, separated by commas.
    `options`: for each call of the pipeline. `batch_size`: rows per call (None: the pipeline's default).
    `concurrency`: calls under way at the same time. `shard_size`: rows that are written together, and the most that are lost
    when the run is stopped. `ray`: the address of a Ray cluster, `local` for one on this machine, None for none. `workers`:
    the number of its actors (None: one for each CPU). `headers`: sent with each call to the server."""

    name: str
    input: Path
    output: Path
    timeout: float = 60.0
    task: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    id: str | None = None
    keep: tuple[str, ...] = ()
    labels: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    concurrency: int = 4
    shard_size: int = 1000
    restart: bool = False
    ray: str | None = None
    workers: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.output.suffix.lower() not in SHARD_ENDINGS:
            raise UsageError(f"{self.output} should end in {' or '.join(SHARD_ENDINGS)}")
        if taken := sorted(set(self.keep) & set(OWN)):
            raise UsageError(f"--keep {taken[0]}: the output has a column {taken[0]} of its own")
        if len(set(self.keep)) < len(self.keep):
            raise UsageError(f"--keep names a column twice: {', '.join(self.keep)}")
        for name in ("batch_size", "concurrency", "shard_size", "workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be 1 or more, not {value}")
        if self.workers is not None and self.ray is None:
            raise UsageError(f"--workers {self.workers} is of Ray's actors: give --ray too, or --concurrency instead")
        self._require_apart()

    def _require_apart(self) -> None:
        """Raises UsageError if the run would overwrite what it reads, or read what it writes. Links are followed."""
        # the output replaces a link, not the target of the link
        source, output = (
            Path(os.path.realpath(self.input)),
            Path(os.path.realpath(self.output.parent)) / self.output.name,
        )
        inside = source.is_dir() and output.is_relative_to(source)
        if _same(source, output) or source.is_relative_to(output.with_name(self.parts.name)):
            raise UsageError(f"OUTPUT {self.output} would overwrite INPUT {self.input}: give another OUTPUT")
        if inside and not any(part.startswith(".") for part in output.relative_to(source).parts):
            raise UsageError(f"OUTPUT {self.output} would be read as a part of INPUT {self.input}: put it elsewhere")
        if source.is_dir() and output.exists():
            for file in walk(source):
                if file.suffix.lower() in TABLES and _same(file, output):
                    raise UsageError(f"OUTPUT {self.output} is {file} of INPUT {self.input}: give another OUTPUT")

    @property
    def parts(self) -> Path:
        """The folder next to OUTPUT that holds finished shards."""
        return self.output.with_name(f"{self.output.name}.parts")

    @property
    def matters(self) -> dict[str, Any]:
        """Everything that affects the answers and the shards. A run continues only if these are the same."""
        return {
            "--task": self.task,
            "--column": dict(sorted(self.columns.items())),
            "--id": self.id,
            "--keep": list(self.keep),
            "--labels": self.labels,
            "--option": dict(sorted(self.options.items())),
            "--shard-size": self.shard_size,
        }


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are the same file, under any names."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
