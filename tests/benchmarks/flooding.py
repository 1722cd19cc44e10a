"""Far more requests than a model answers, from a process of their own, and what became of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import numpy as np

from hf2triton_client import ClientError, DeadlineExceeded, ServerBusy, aio
from hf2triton_client.transport.connection import Request, Target
from hf2triton_client.transport.served_model import ServedModel

#: Callers at the same time when the model's own pace is measured: two full batches.
CALLERS = 128


@dataclass(frozen=True)
class Flood:
    """`count` requests of one text each, `rate` in a second, 0: all at once. `timeout`: seconds that each caller waits."""

    url: str
    model: str
    text: str
    count: int
    rate: float
    timeout: float
    retries: int = 0


@dataclass
class Ends:
    """The seconds after which requests were answered, refused (ServerBusy) and expired (DeadlineExceeded); all other errors.
    `seconds`: until the last one ended. `hints`: how many refusals say when to come back."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    expired: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    hints: int = 0
    seconds: float = 0.0


def run(plan: Flood) -> Ends:
    """In a process of its own, as what a thousand callers cost would else be taken from whoever measures."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_run, plan).result()


def pace(url: str, model: str, text: str, seconds: float) -> float:
    """Requests that are answered in a second while as many callers ask as fill two batches."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_pace, url, model, text, seconds).result()


def percentile(seconds: list[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) if seconds else 0.0


def _run(plan: Flood) -> Ends:
    return asyncio.run(_flood(plan))


async def _flood(plan: Flood) -> Ends:
    ends = Ends()
    target = Target(plan.url, plan.timeout, plan.retries)
    connection = aio.AsyncConnection(target, plan.count, plan.count)
    request = await _request(connection, plan.model, plan.text)
    await connection.infer(request)

    async def ask() -> None:
        began = time.monotonic()
        into = ends.answered
        try:
            await connection.infer(request)
        except ServerBusy as error:
            into = ends.refused
            ends.hints += error.retry_after is not None
        except DeadlineExceeded:
            into = ends.expired
        except ClientError as error:
            ends.others[f"{type(error).__name__}: {error}"] += 1
            return
        into.append(time.monotonic() - began)

    began, tasks = time.monotonic(), []
    for index in range(plan.count):
        if plan.rate and (early := began + index / plan.rate - time.monotonic()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(ask()))
    await asyncio.gather(*tasks)
    ends.seconds = time.monotonic() - began
    await connection.close()
    return ends


async def _request(connection: aio.AsyncConnection, model: str, text: str) -> Request:
    """Made once: callers are to cost as little as can be."""
    served = ServedModel.from_config(await connection.model_config(model))
    [request] = served.requests({"text": [text]}, ["logits"], 1)
    return request


def _pace(url: str, model: str, text: str, seconds: float) -> float:
    async def ask(connection: aio.AsyncConnection, request: Request) -> int:
        until, count = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            await connection.infer(request)
            count += 1
        return count

    async def run() -> float:
        connection = aio.AsyncConnection(Target(url), CALLERS)
        request = await _request(connection, model, text)
        await connection.infer(request)
        began = time.monotonic()
        counts = await asyncio.gather(*(ask(connection, request) for _ in range(CALLERS)))
        took = time.monotonic() - began
        await connection.close()
        return sum(counts) / took

    return asyncio.run(run())
