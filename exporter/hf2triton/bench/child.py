"""One contender's share of a round, in its own process: `python -m hf2triton.bench.child`, with its job on stdin.

Contenders run in separate processes because two thread pools in one process disturb each other, and so does the memory of two
models.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from hf2triton_client.errors import ClientError
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.loadgen.load import run_load
from hf2triton_client.loadgen.results import Load

from ..core.layout import BASELINE
from ..errors import Hf2TritonError
from .contenders import CONTENDERS
from .inputs import Batch, batches_of
from .job import BenchJob, JobResult, Unavailable


def measure(job: BenchJob) -> JobResult:
    """Opens the contender and measures it under each of its loads in turn."""
    generates = job.source.task == "text-generation"
    contender = CONTENDERS[job.contender].opener(generates)(job)
    samples = []
    for load in job.loads:
        batches = _batches(job, load)
        with contender.prepare(batches, load) as call:
            samples.append(
                run_load(
                    call,
                    range(len(batches)),
                    load,
                    job.seconds,
                    job.warm_up,
                    seed=job.round,
                    most_callers=contender.most_callers,
                )
            )
    return JobResult(
        os.getpid(),
        contender.precision,
        contender.threads,
        contender.weight_bytes,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # Linux counts KiB
        contender.about(),
        tuple(samples),
    )


def _batches(job: BenchJob, load: Load) -> list[Batch]:
    mixed = load.length is None
    inputs = Baseline.load(Path(job.folder) / BASELINE).inputs if mixed else job.of_length[str(load.length)]
    return batches_of(inputs, load.batch_size)


def main() -> None:
    """Answers on the original stdout. Everything that libraries print goes to stderr."""
    # Ctrl-C reaches the benchmark too, which then ends this process, with time to remove its shared memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        found = measure(BenchJob.from_json(json.load(sys.stdin)))
    except (Unavailable, Hf2TritonError, ClientError) as error:
        found = JobResult(os.getpid(), missing=str(error))
    except ModuleNotFoundError as error:
        found = JobResult(os.getpid(), missing=f"the package {error.name!r} is not installed")
    json.dump(found.to_json(), answer)
    answer.close()


if __name__ == "__main__":
    main()
