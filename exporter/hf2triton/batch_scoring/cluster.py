"""Shards scored by Ray Data, on this machine or on a cluster whose machines see the same files.

Each actor has a connection of its own and writes its shards itself, as a run without Ray does. Where an actor or a machine is
lost Ray scores the shard again; the file of a shard appears once.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from hf2triton_client.errors import ClientError

from ..errors import Hf2TritonError, ScoringError
from .inputs import Shard
from .scorer import Scorer, ScoringJob

#: The address that means: a Ray of its own on this machine, which ends with the run.
LOCAL = "local"
#: What it may keep in shared memory: numbers of shards alone travel, and this is the least that Ray takes.
_OBJECTS = 80 << 20


class _Actor:
    """Scores shards; connects when the first one comes. What goes wrong is told as a result: Ray keeps no error's own words."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._scorer: Scorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Scores the shards of a batch, their fields as columns; gives their rows, and what went wrong."""
        shards = [Shard(*map(int, fields)) for fields in zip(*(batch[name] for name in _FIELDS), strict=True)]
        try:
            if self._scorer is None:
                self._scorer = Scorer(self._job)
            rows, wrong = [shard.rows for shard in self._scorer.score(shards)], ""
        except (ClientError, Hf2TritonError, OSError) as error:
            rows, wrong = [0] * len(shards), str(error)
        return {"rows": rows, "wrong": [wrong] * len(shards)}


_FIELDS = ("number", "file", "first", "at", "rows")


def score_on_ray(job: ScoringJob, shards: Sequence[Shard], progress: Callable[[int], None]) -> None:
    """Writes the shards. `progress`: called with how many more rows are answered. Raises ScoringError."""
    import ray.data
    import ray.exceptions

    options = job.options
    job = replace(job, options=replace(options, output=options.output.absolute(), input=options.input.absolute()))
    with _ray(options.ray or LOCAL):
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        workers = min(len(shards), options.workers or int(ray.cluster_resources().get("CPU", 1)))
        todo = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
        pool = ray.data.ActorPoolStrategy(size=workers)
        done = todo.map_batches(_Actor, fn_constructor_args=(job,), batch_size=1, compute=pool)
        try:
            for row in done.iter_rows():
                if row["wrong"]:
                    raise ScoringError(row["wrong"])
                progress(int(row["rows"]))
        except ray.exceptions.RayError as error:
            said = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            # a traceback as text: what was raised stands at its left edge
            raised = [line for line in said if "Error: " in line and not line.startswith(" ")]
            raise ScoringError(f"Ray could not score the shards: {(raised or said)[-1]}") from error


@contextmanager
def _ray(address: str) -> Iterator[None]:
    """A connection to a cluster; one of our own leaves nothing behind. A Ray that the program has started already is used."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    with tempfile.TemporaryDirectory(prefix="hf2triton-ray-", ignore_cleanup_errors=True) as folder:
        own = {"include_dashboard": False, "object_store_memory": _OBJECTS, "_temp_dir": folder}
        try:
            ray.init(address=address, **quiet, **(own if address == LOCAL else {}))
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ScoringError(f"Ray cannot be reached at {address}: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()
