"""What the server of the tests of streams answers, by the text of a prompt, and how its asyncio callers run."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time

import grpc
from tritonclient.grpc import service_pb2

from hf2triton_client import aio

from .fake_triton import NAME, response

SLOTS = 3
FULL = "Exceeds maximum queue size"


def until_cancelled(context):
    while context.is_active():
        time.sleep(0.005)


def script(seen, context):
    """What the text asks for."""
    what, _, detail = seen.text.partition(" ")
    if what == "endless":
        for index in itertools.count():
            if not context.is_active():
                return
            yield response([f" {index}"], [""], [index + 1])
            time.sleep(0.005)
    elif what == "silent":
        until_cancelled(context)
    elif what == "fails":
        context.abort(grpc.StatusCode[detail], "the reason")
    elif what == "says":
        yield service_pb2.ModelStreamInferResponse(error_message=detail)
    elif what == "stops":
        yield response([" half"], [""])
    elif what == "busy" and seen.tries < 3:
        yield service_pb2.ModelStreamInferResponse(error_message=f"UNAVAILABLE: {FULL}")
    elif what == "gone" and seen.tries < 3:
        context.abort(grpc.StatusCode.UNAVAILABLE, "nobody there")
    elif what == "dies":
        yield response([" half"], [""])
        context.abort(grpc.StatusCode.UNAVAILABLE, FULL)
    elif what == "lingers":
        yield response([" whole"], ["eos"])
        time.sleep(0.3)
    elif what == "waits":
        time.sleep(float(detail))
        yield response([f" {detail}"], ["eos"])
    else:
        yield response([" whole"], ["eos"])


def in_asyncio(triton, use, **options):
    """Runs `use(pipe)` with a pipeline of its own; nothing may be left that asyncio complains about."""
    complaints = []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with aio.pipeline(model=NAME, url=triton.url, return_full_text=False, **options) as pipe:
            return await use(pipe)

    result = asyncio.run(run())
    gc.collect()
    assert complaints == []
    return result


async def cancelled_within(triton, *texts):
    """The event loop goes on meanwhile."""
    await asyncio.to_thread(triton.wait_for_cancelled, *texts)
