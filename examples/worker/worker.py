"""Answers the jobs in a folder with a served model, several at a time.

    python worker.py JOBS --model sentiment

A producer writes JOBS/NAME.tmp and renames it to JOBS/NAME.json:

    {"inputs": "What a lovely day", "options": {"top_k": 1}}

The answer appears in JOBS/done/NAME.json, or the error in JOBS/failed/NAME.json. Only then is the job removed, so a worker that
is killed loses nothing: the next one answers the job again. SIGTERM and Ctrl-C end the worker after the jobs under way. A
folder has one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from hf2triton_client import (
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    ModelNotFound,
    ServerBusy,
    ServerError,
    TaskPipeline,
)
from hf2triton_client.aio import AsyncConnection, pipeline
from hf2triton_client.transport.connection import Target

#: Errors after which the same job can succeed later.
TRY_AGAIN = (ServerBusy, ConnectionFailed, DeadlineExceeded, ModelNotFound)
#: Seconds between two looks into the folder, and between two tries of a job: first and longest.
LOOK_AGAIN, FIRST_PAUSE, LONGEST_PAUSE = 0.5, 1.0, 30.0

log = logging.getLogger("worker")


async def answer(job: Path, model: TaskPipeline, stopping: asyncio.Event) -> None:
    """Answers one job. It tries again until the model has answered or the worker is stopping."""
    try:
        content = json.loads(job.read_text(encoding="utf-8"))
        inputs, options = content["inputs"], dict(content.get("options", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        finish(job, "failed", {"error": f"not a job: {error!r}"})
        return
    pause = FIRST_PAUSE
    while True:
        try:
            finish(job, "done", {"result": await model(inputs, **options)})
            return
        except TRY_AGAIN as error:
            asked = error.retry_after if isinstance(error, ServerBusy) else None
            seconds = pause if asked is None else asked
            log.warning("%s: again in %.1f s: %s", job.name, seconds, error)
        except (InputError, ServerError, TypeError) as error:
            finish(job, "failed", {"error": str(error)})
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)
            return  # the job stays for the next worker
        pause = min(2 * pause, LONGEST_PAUSE)


def finish(job: Path, outcome: str, content: dict[str, Any]) -> None:
    """Writes the outcome, which appears complete or not at all, and then removes the job."""
    target = job.parent / outcome / job.name
    partial = target.with_suffix(".tmp")
    partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    partial.replace(target)
    job.unlink()
    log.info("%s: %s", job.name, outcome)


async def work(folder: Path, model: TaskPipeline, concurrency: int, until_empty: bool, stopping: asyncio.Event) -> None:
    """Answers jobs, `concurrency` at a time, until it has to stop or, with `until_empty`, none is left."""
    waiting: deque[Path] = deque()
    under_way: dict[Path, asyncio.Task[None]] = {}
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while not stopping.is_set():
            waiting = waiting or deque(job for job in sorted(folder.glob("*.json")) if job not in under_way)
            while waiting and len(under_way) < concurrency:
                job = waiting.popleft()
                under_way[job] = asyncio.create_task(answer(job, model, stopping))
            if until_empty and not under_way:
                return
            await asyncio.wait({stop, *under_way.values()}, timeout=LOOK_AGAIN, return_when=asyncio.FIRST_COMPLETED)
            for job in [job for job, task in under_way.items() if task.done()]:
                under_way.pop(job).result()
    finally:
        stopping.set()
        await asyncio.gather(stop, *under_way.values())


async def main() -> int:
    parser = argparse.ArgumentParser(description="Answer the jobs in a folder with a served model.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="localhost:8001", help="the server's gRPC endpoint")
    parser.add_argument("--model", default="sentiment", help="a model of any task")
    parser.add_argument("--concurrency", type=int, default=4, help="jobs under way at the same time")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one try of a job")
    parser.add_argument("--until-empty", action="store_true", help="end when no job is left")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for outcome in ("done", "failed"):
        (arguments.folder / outcome).mkdir(parents=True, exist_ok=True)
    stopping = asyncio.Event()

    def stop() -> None:
        log.info("stopping after the jobs under way")
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    connection = AsyncConnection(Target(arguments.url, arguments.timeout), max_in_flight=arguments.concurrency)
    try:
        model = await pipeline(model=arguments.model, connection=connection)
        await work(arguments.folder, model, arguments.concurrency, arguments.until_empty, stopping)
    except ClientError as error:
        log.error("%s", error)
        return 1
    finally:
        await connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
