"""An HTTP service in front of two served models.

pip install fastapi uvicorn
uvicorn app:app --port 9000

curl localhost:9000/classify --json '{"text": "What a lovely day"}'
curl localhost:9000/generate --json '{"prompt": "In the beginning"}' --no-buffer
curl localhost:9000/ready
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from hf2triton_client import (
    AsyncTextStream,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    ModelNotFound,
    ServerBusy,
)
from hf2triton_client.aio import AsyncConnection, pipeline
from hf2triton_client.transport.connection import Target

TRITON_URL = os.environ.get("TRITON_URL", "localhost:8001")
CLASSIFY_MODEL = os.environ.get("CLASSIFY_MODEL", "sentiment")
GENERATE_MODEL = os.environ.get("GENERATE_MODEL", "verses")
#: Seconds for one request to Triton, with its retries, and for a whole generated text.
TIMEOUT = float(os.environ.get("TIMEOUT", "10"))
#: Requests to Triton under way at the same time, and how many more may wait. Others are refused with 503.
MAX_IN_FLIGHT = int(os.environ.get("MAX_IN_FLIGHT", "16"))
MAX_WAITING = int(os.environ.get("MAX_WAITING", "64"))

#: The first class that fits decides. All other errors are 500.
STATUSES: dict[type[ClientError], int] = {
    InputError: 422,
    ServerBusy: 503,
    ModelNotFound: 503,
    DeadlineExceeded: 504,
    ConnectionFailed: 502,
}

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """One connection for all requests. The service does not start without its models."""
    target = Target(TRITON_URL, timeout=TIMEOUT, retries=1)
    connection = AsyncConnection(target, max_in_flight=MAX_IN_FLIGHT, max_waiting=MAX_WAITING)
    try:
        yield {
            "connection": connection,
            "classify": await pipeline("text-classification", model=CLASSIFY_MODEL, connection=connection),
            "generate": await pipeline("text-generation", model=GENERATE_MODEL, connection=connection),
        }
    finally:
        await connection.close()


app = FastAPI(title="Texts", lifespan=lifespan)


class Review(BaseModel):
    text: str
    top_k: int | None = 1


class Label(BaseModel):
    label: str
    score: float


class Prompt(BaseModel):
    prompt: str
    max_new_tokens: int = 50
    seed: int | None = None


@app.post("/classify")
async def classify(review: Review, request: Request) -> list[Label]:
    return [Label(**answer) for answer in await request.state.classify(review.text, top_k=review.top_k)]


@app.post("/generate")
async def generate(prompt: Prompt, request: Request) -> StreamingResponse:
    """Server-sent events: `{"text": …}` for each piece, then an event `end`, or `error` if the text breaks off."""
    options = {"max_new_tokens": prompt.max_new_tokens, "seed": prompt.seed}
    stream: AsyncTextStream = request.state.generate.stream(prompt.prompt, **options)
    # The first piece comes before the response: a status can be chosen only before anything is sent. A caller who leaves until
    # then is noticed with this piece.
    first = await anext(stream, "")
    return StreamingResponse(events(first, stream), media_type="text/event-stream")


@app.get("/ready")
async def ready(request: Request, response: Response) -> dict[str, list[str]]:
    missing = {CLASSIFY_MODEL, GENERATE_MODEL}.difference(await request.state.connection.ready_models())
    response.status_code = 503 if missing else 200
    return {"missing": sorted(missing)}


@app.exception_handler(ClientError)
async def failed(_: Request, error: ClientError) -> JSONResponse:
    status = status_of(error)
    log.warning("%d: %s", status, error)
    headers = {}
    if isinstance(error, ServerBusy):
        headers["Retry-After"] = str(math.ceil(error.retry_after or 1))
    return JSONResponse({"detail": detail_of(error)}, status, headers)


async def events(first: str, stream: AsyncTextStream) -> AsyncIterator[str]:
    # if the caller leaves, the response is cancelled, and leaving this block ends the text on the server
    async with stream:
        try:
            yield event("message", {"text": first})
            async for piece in stream:
                yield event("message", {"text": piece})
        except ClientError as error:
            log.warning("in the middle of a text: %s", error)
            yield event("error", {"status": status_of(error), "detail": detail_of(error)})
            return
        assert stream.metadata is not None
        yield event(
            "end", {"finish_reason": stream.metadata.finish_reason, "tokens": stream.metadata.num_output_tokens}
        )


def event(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def status_of(error: ClientError) -> int:
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def detail_of(error: ClientError) -> str:
    """Only messages about the input are for callers: the others name the server's address."""
    return str(error) if isinstance(error, InputError) else type(error).__name__
