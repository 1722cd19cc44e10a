"""The asyncio twin: `async with pipeline("ner", model="NAME") as pipe: await pipe("…")`.

`await pipeline(...)` gives a pipeline as well; then `await pipe.close()` when it is no longer needed. Everything else
is as in `hf2triton_client`: an iterator as input gives an asynchronous iterator of results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import Any

import grpc
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from .connection import Request, Target, unknown_model
from .errors import ClientError, ModelNotFound
from .generation import Generation, Prompt
from .pipelines import TaskPipeline, pipeline_class
from .pipelines.base import Call
from .runner import WINDOW, requests_of, result_of
from .served_model import ServedModel, one_of_several
from .streams import AsyncExchange, AsyncTextStream, async_results

__all__ = ["AsyncConnection", "AsyncTextStream", "pipeline"]


class AsyncConnection:
    """`hf2triton_client.connection.Connection` for asyncio. Belongs to the event loop it was made in."""

    def __init__(self, target: Target, max_in_flight: int = 4) -> None:
        self.target = target
        self.max_in_flight = max_in_flight
        self._slots = asyncio.Semaphore(max_in_flight)
        with target.errors_mapped():
            self._client = triton.InferenceServerClient(**target.client_arguments())
            self._channel = target.channel(grpc.aio)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def model_config(self, name: str) -> dict[str, Any]:
        try:
            with self.target.errors_mapped():
                answer = await self._client.get_model_config(name, as_json=True, **self._call())
        except ModelNotFound as error:
            raise unknown_model(name, await self.ready_models(), error) from error
        return answer["config"]

    async def find_config(self, name: str) -> dict[str, Any] | None:
        """As `model_config`, but None where there is no such model."""
        try:
            return await self.model_config(name)
        except ModelNotFound:
            return None

    async def ready_models(self) -> list[str]:
        try:
            with self.target.errors_mapped():
                statistics = await self._client.get_inference_statistics(as_json=True, **self._call())
        except ClientError:
            return []
        return sorted({model["name"] for model in statistics.get("model_stats", ())})

    async def infer(self, request: Request) -> Any:
        async with self._slots:
            with self.target.errors_mapped(request.first):
                return await self._client.infer(request.model, request.inputs, outputs=request.outputs, **self._call())

    async def infer_all(self, requests: Sequence[Request]) -> list[Any]:
        """Sends requests, `max_in_flight` at a time; the first failure cancels those still under way."""
        tasks = [asyncio.ensure_future(self.infer(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    def stream_infer(self, message: service_pb2.ModelInferRequest, timeout: float) -> Any:
        """As `Connection.stream_infer`: gRPC's asyncio call, with `read` and `cancel`."""
        return self._stub.ModelStreamInfer([message], metadata=[*self.target.headers.items()], timeout=timeout)

    def _call(self) -> dict[str, Any]:
        return {"headers": dict(self.target.headers), "client_timeout": self.target.timeout}

    async def close(self) -> None:
        await self._client.close()
        await self._channel.close()


class AsyncRunner:
    """Runs calls as coroutines."""

    def __init__(self, connection: AsyncConnection, owned: bool) -> None:
        self._connection = connection
        self._owned = owned

    async def run(self, call: Call) -> Any:
        result: Any = call
        while isinstance(result, Call):
            requests = requests_of(result)
            results = await self._connection.infer_all([one for own in requests for one in own])
            result = result_of(result, requests, results)
        return result

    async def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> AsyncIterator[Any]:
        while window := list(islice(inputs, WINDOW)):
            for value in await self.run(prepare(window)):
                yield value

    async def generate(self, generation: Generation) -> Any:
        return generation.finish([result async for result in self.generate_each(generation)])

    def generate_each(self, generation: Generation) -> AsyncIterator[Any]:
        return async_results(self._connection, generation)

    def generate_stream(self, prompt: Prompt) -> AsyncTextStream:
        return AsyncTextStream(AsyncExchange.open(self._connection, prompt))

    async def close(self) -> None:
        if self._owned:
            await self._connection.close()


class _Opening:
    """What `pipeline(...)` gives: to be awaited, or entered with `async with`."""

    def __init__(self, task: str | None, model: str, connection: AsyncConnection | Target, defaults: dict) -> None:
        self._arguments = task, model, connection, defaults

    def __await__(self) -> Generator[Any, None, TaskPipeline]:
        return self._open().__await__()

    async def _open(self) -> TaskPipeline:
        task, name, connection, defaults = self._arguments
        owned = isinstance(connection, Target)
        if owned:
            connection = AsyncConnection(connection)
        try:
            models = await self._models(connection, name)
            return pipeline_class(task, models)(models, AsyncRunner(connection, owned), defaults)
        except BaseException:
            if owned:
                await connection.close()
            raise

    @staticmethod
    async def _models(connection: AsyncConnection, name: str) -> dict[str, ServedModel]:
        """The fronts of an entry, by what they read."""
        try:
            config = await connection.model_config(name)
        except ModelNotFound:
            config = await connection.find_config(one_of_several(name))
            if config is None:
                raise
        fronts = ServedModel.from_config(config).fronts
        return {reads: ServedModel.from_config(await connection.model_config(front)) for reads, front in fronts.items()}

    async def __aenter__(self) -> TaskPipeline:
        self._pipeline = await self._open()
        return self._pipeline

    async def __aexit__(self, *_: object) -> None:
        await self._pipeline.close()


def pipeline(
    task: str | None = None,
    model: str = "",
    url: str = "localhost:8001",
    *,
    connection: AsyncConnection | None = None,
    timeout: float = 60.0,
    retries: int = 3,
    headers: dict[str, str] | None = None,
    tls: Any = None,
    **options: Any,
) -> _Opening:
    """As `hf2triton_client.pipeline`; await it, or enter it with `async with`."""
    return _Opening(task, model, connection or Target(url, timeout, retries, headers or {}, tls), options)
