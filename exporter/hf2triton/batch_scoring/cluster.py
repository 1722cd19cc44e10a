"""Has Ray Data score the shards, on this machine or on a cluster whose machines see the same files.

Each actor has its own connection and writes its shards itself, like a run without Ray. If an actor or a machine is lost, Ray
scores the shard again; a shard's file appears only once.
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

#: The address of a private Ray on this machine, which ends with the run.
LOCAL = "local"
#: The bytes of its shared memory: the minimum that Ray accepts, since only shard numbers are transferred.
_OBJECTS = 80 << 20


class _Actor:
    """Scores shards. Connects when the first shard comes. Errors are returned as results, because Ray loses their messages."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._scorer: Scorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Scores the shards of a batch, whose fields are columns. Returns their rows, and the error if one occurred."""
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
    """Writes the shards. `progress`: called with the number of newly answered rows. Raises ScoringError."""
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
            # a traceback as text; the exception itself is not indented
            raised = [line for line in said if "Error: " in line and not line.startswith(" ")]
            raise ScoringError(f"Ray could not score the shards: {(raised or said)[-1]}") from error


@contextmanager
def _ray(address: str) -> Iterator[None]:
    """A connection to a cluster. A private cluster is removed at the end. A Ray that the program has already started is
    used."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray sends usage statistics
    with tempfile.TemporaryDirectory(prefix="hf2triton-ray-", ignore_cleanup_errors=True) as folder:
        own: dict[str, Any] = {}
        if address == LOCAL:
            own = {"include_dashboard": False, "object_store_memory": _OBJECTS, "_temp_dir": folder}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ScoringError(f"Ray cannot be reached at {address}: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()
