"""Calls a model from asyncio: many calls at once, a timeout for one of them, and cancelling those that are not needed.

python asyncio_client.py --model sentiment
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from hf2triton_client import TaskPipeline
from hf2triton_client.aio import AsyncConnection, pipeline
from hf2triton_client.transport.connection import Target

REVIEWS = [
    "What a lovely day",
    "I want my money back",
    "The plot is thin, but the actors are wonderful",
    "Two hours that I will never get back",
]


async def all_at_once(classify: TaskPipeline) -> None:
    """One call per text. The connection sends `max_in_flight` of them at a time; the others wait for their turn."""
    answers = await asyncio.gather(*(classify(text) for text in REVIEWS))
    for text, [best] in zip(REVIEWS, answers, strict=True):
        print(f"{best['label']:8} {best['score']:.3f}  {text}")


async def label_of(classify: TaskPipeline, text: str, **options: Any) -> str:
    """In a coroutine, every error comes at its `await`. The pipeline itself refuses a wrong option as soon as it is called."""
    best, *_ = await classify(text, **options)
    return str(best["label"])


async def some_may_fail(classify: TaskPipeline) -> None:
    """A failed call does not cancel the others."""
    calls = [label_of(classify, "good"), label_of(classify, "bad", top_k=0)]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        print(f"failed: {answer}" if isinstance(answer, BaseException) else f"answered: {answer}")


async def with_timeout(classify: TaskPipeline, seconds: float) -> None:
    """`wait_for` cancels a call that takes too long, whatever the connection's own deadline is."""
    try:
        print(f"within {seconds:g} s: {await asyncio.wait_for(label_of(classify, REVIEWS[0]), seconds)}")
    except asyncio.TimeoutError:
        print(f"no answer within {seconds:g} s")


async def first_answer(classify: TaskPipeline) -> None:
    """The first answer is enough: the other calls are cancelled. The connection can be used as before."""
    calls = [asyncio.create_task(label_of(classify, text)) for text in REVIEWS]
    done, left = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    for call in left:
        call.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    print(f"first: {done.pop().result()}, cancelled: {sum(call.cancelled() for call in left)}")


async def main() -> None:
    parser = argparse.ArgumentParser(description="Call a model from asyncio.")
    parser.add_argument("--url", default="localhost:8001", help="the server's gRPC endpoint")
    parser.add_argument("--model", default="sentiment")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one call")
    parser.add_argument("--max-in-flight", type=int, default=8, help="requests under way at the same time")
    arguments = parser.parse_args()
    # the deadline of every request, with its retries; a single call can have a shorter one, as in `with_timeout`
    connection = AsyncConnection(Target(arguments.url, timeout=30.0), max_in_flight=arguments.max_in_flight)
    try:
        classify = await pipeline("text-classification", model=arguments.model, connection=connection)
        await all_at_once(classify)
        await some_may_fail(classify)
        await with_timeout(classify, arguments.timeout)
        await first_answer(classify)
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
