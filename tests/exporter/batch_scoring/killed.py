"""Scores a set again and again, each time killed one step later: `killed.py URL INPUT OUTPUT WORKSPACE`.

Steps are the calls that change what is on a disk, and each batch that is asked. One process is forked for each. Prints what
there is afterwards, and what running the same again makes of it, one JSON a step.
"""

import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pyarrow.parquet  # noqa: F401 – once, not in each process

sys.path.insert(0, str(Path(__file__).parents[3]))

from hf2triton.batch_scoring import ScoreOptions, score
from hf2triton.batch_scoring.batch_client import Asker
from hf2triton.errors import UsageError
from tests.support import snapshot

STEPS = ("replace", "fsync", "mkdir", "unlink", "rmdir")


def stop_at(step: int) -> None:
    """Makes the step-th of those calls the last."""
    count, lock = 0, threading.Lock()

    def wrap(original):
        def call(*arguments, **options):
            nonlocal count
            with lock:
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, wrap(getattr(os, name)))
    Asker.scored = wrap(Asker.scored)


def run(url: str, options: ScoreOptions, step: int, told: Path) -> bool:
    """In a process of its own; whether it came to its end. Writes how many rows were done before, -1 if it refused."""
    child = os.fork()
    if child == 0:
        stop_at(step)
        try:
            before = score(options, url).rows_before
        except UsageError as error:
            before = -1 if "exists: remove it" in str(error) else -2
        told.write_text(str(before))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status
    return status == 0


def main(url: str, source: Path, output: str, workspace: Path) -> None:
    stopped, step = True, 0
    while stopped:
        step += 1
        place = workspace / str(step)
        place.mkdir()
        told = workspace / "told"
        options = ScoreOptions("sentiment", source, place / output, batch_size=8, shard_size=8, concurrency=2)
        stopped = not run(url, options, step, told)
        there = snapshot(place).get(output)
        if stopped:
            assert run(url, options, 0, told)
        print(json.dumps({"there": there, "before": int(told.read_text()), "again": snapshot(place)}))
        shutil.rmtree(place)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
