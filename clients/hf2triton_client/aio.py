"""The asyncio counterpart: `async with pipeline("ner", model="NAME") as pipe: await pipe("…")`.

You can also write `pipe = await pipeline(...)`, and `await pipe.close()` when you no longer need it. Everything else works as
in `hf2triton_client`; an iterator as input returns an asynchronous iterator of results.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, Literal, TypeVar, cast, overload

import grpc
import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from .errors import ClientError, ConnectionClosed, ModelNotFound
from .pipelines import TaskPipeline, pipeline_class
from .pipelines.image_feature_extraction import ImageFeatureExtraction
from .pipelines.question_answering import QuestionAnswering
from .pipelines.rerank import Rerank
from .pipelines.sentence_similarity import SentenceSimilarity
from .pipelines.sparse_embedding import SparseEmbedding
from .pipelines.text_generation import TextGeneration
from .pipelines.zero_shot_classification import ZeroShotClassification
from .pipelines.zero_shot_image_classification import ZeroShotImageClassification
from .transport import forks
from .transport.answering import answer
from .transport.calls import Call
from .transport.connection import Request, Target, unknown_model
from .transport.exchange import AsyncExchange
from .transport.generation import Generation, Prompt
from .transport.link import Link
from .transport.prompts import async_results
from .transport.protocol import ModelConfigRequest, ModelInferRequest, ModelStatisticsRequest
from .transport.retries import Tries
from .transport.runner import WINDOW, Closing
from .transport.served_model import ServedModel, one_of_several
from .transport.slots import MOST_WAITING, AsyncSlots
from .transport.steps import drive_async
from .transport.streams import AsyncTextStream

__all__ = ["AsyncConnection", "AsyncTextStream", "pipeline"]

P = TypeVar("P", bound=TaskPipeline, covariant=True)


class AsyncConnection:
    """`Connection` for asyncio, to share between pipelines: `AsyncConnection(Target(url))`, with `Target` from
    `hf2triton_client.transport.target`. It belongs to the event loop and the process that it was made in.

    `max_in_flight`: how many requests may be under way at the same time, across all calls. `max_waiting`: how many requests may
    wait for a place (10,000).
    """

    def __init__(self, target: Target, max_in_flight: int = 4, max_waiting: int = MOST_WAITING) -> None:
        self.target = target
        self.max_in_flight = max_in_flight
        self._slots = AsyncSlots(max_in_flight, max_waiting)
        self.link = Link(target, grpc.aio)
        self.known: set[str] = set()

    async def model_config(self, name: str) -> dict[str, Any]:
        """Like `Connection.model_config`."""
        try:
            return await self._config(name, known=name in self.known, opening=True)
        except ModelNotFound as error:
            raise unknown_model(name, await self.ready_models(), error) from error

    async def find_config(self, name: str, version: str = "") -> dict[str, Any] | None:
        """Like `Connection.find_config`."""
        try:
            return await self._config(name, known=False, version=version)
        except ModelNotFound:
            return None

    async def ready_models(self) -> list[str]:
        """Like `Connection.ready_models`."""
        message = ModelStatisticsRequest()
        try:
            statistics = await self._tried("ModelStatistics", message, Tries(self.target), known=False)
        except ConnectionClosed:
            raise
        except ClientError:
            return []
        return sorted({model.name for model in statistics.model_stats})

    async def infer(self, request: Request) -> triton.InferResult:
        tries, model = Tries(self.target), request.model
        async with self._slots.place(tries.until):
            answer = await self._tried("ModelInfer", request.message, tries, model in self.known, request.first)
        self.known.add(model)
        return triton.InferResult(answer)

    async def infer_all(self, requests: Sequence[Request]) -> list[triton.InferResult]:
        """Sends requests, `max_in_flight` at a time. The first failure cancels the requests that are still under way.

        A request's timeout starts when fewer than `max_in_flight` requests of this call are under way.
        """
        results: list[Any] = [None] * len(requests)
        left = iter(enumerate(requests))

        async def lane() -> None:
            for index, request in left:
                results[index] = await self.infer(request)

        lanes = [asyncio.ensure_future(lane()) for _ in range(min(self.max_in_flight, len(requests)))]
        try:
            await asyncio.gather(*lanes)
        finally:
            for one in lanes:
                one.cancel()
        return results

    def stream_infer(self, message: ModelInferRequest, timeout: float) -> Any:
        """Like `Connection.stream_infer`. Returns gRPC's asyncio call, with `read` and `cancel`."""
        with forks.calling():
            send = self.link.stub().ModelStreamInfer
            call = send(message, metadata=[*self.target.headers.items()], timeout=timeout)
            forks.enter()
        # a call can outlive its event loop; its callback then never runs
        leave = weakref.finalize(call, forks.leave)
        leave.atexit = False
        call.add_done_callback(lambda _: leave())
        return call

    async def _config(self, name: str, known: bool, version: str = "", opening: bool = False) -> dict[str, Any]:
        message = ModelConfigRequest(name=name, version=version)
        answer = await self._tried("ModelConfig", message, Tries(self.target, opening), known)
        self.known.add(name)
        config: dict[str, Any] = MessageToDict(answer, preserving_proto_field_name=True)["config"]
        return config

    async def _tried(self, method: str, message: Message, tries: Tries, known: bool, first: int = 0) -> Any:
        """Like `Connection._tried`."""
        while True:
            try:
                await forks.passed()
                with forks.calling(), self.link.errors(first):
                    call = getattr(self.link.stub(), method)
                    return await call(message, timeout=tries.seconds(), metadata=[*self.target.headers.items()])
            except ClientError as error:
                await asyncio.sleep(tries.pause(error, known))

    def __reduce__(self) -> Any:
        raise ClientError(
            "an asyncio connection stays with its event loop and its process, and so does a pipeline over it: open another one"
            " there"
        )

    async def close(self) -> None:
        """Like `Connection.close`."""
        if (ending := self.link.close()) is not None:
            await ending


class AsyncRunner(Closing):
    """Runs calls as coroutines."""

    _connection: AsyncConnection

    async def run(self, call: Call) -> Any:
        return await drive_async(self._open(), answer(call))

    def stream(self, inputs: Iterator[Any], prepare: Callable[[list[Any]], Call]) -> AsyncIterator[Any]:
        self._open()
        windows = iter(lambda: list(islice(inputs, WINDOW)), [])

        async def values() -> AsyncIterator[Any]:
            for window in windows:
                for value in await self.run(prepare(window)):
                    yield value

        return values()

    async def generate(self, generation: Generation) -> Any:
        return generation.finish([result async for result in self.generate_each(generation)])

    def generate_each(self, generation: Generation) -> AsyncIterator[Any]:
        return async_results(self._open(), generation)

    def generate_stream(self, prompt: Prompt) -> AsyncTextStream:
        return AsyncTextStream(AsyncExchange.open(self._open(), prompt))

    async def close(self) -> None:
        self._closed = True
        if self._owned:
            await self._connection.close()


class _Opening(Generic[P]):
    """The result of `pipeline(...)`: await it, or enter it with `async with`."""

    def __init__(
        self, task: str | None, model: str, connection: AsyncConnection | Target, defaults: dict[str, Any]
    ) -> None:
        self._arguments = task, model, connection, defaults

    def __await__(self) -> Generator[Any, None, P]:
        return self._open().__await__()

    async def _open(self) -> P:
        task, name, given, defaults = self._arguments
        connection = AsyncConnection(given) if isinstance(given, Target) else given
        owned = connection is not given
        try:
            models = await self._models(connection, name)
            return cast("P", pipeline_class(task, models)(models, AsyncRunner(connection, owned), defaults))
        except BaseException:
            if owned:
                await connection.close()
            raise

    @staticmethod
    async def _models(connection: AsyncConnection, name: str) -> dict[str, ServedModel]:
        """Returns the frontends of an entry, by input kind."""
        config: dict[str, Any] | None
        try:
            config = await connection.model_config(name)
        except ModelNotFound:
            config = await connection.find_config(one_of_several(name))
            if config is None:
                raise
        frontends = ServedModel.from_config(config).frontends
        return {
            reads: ServedModel.from_config(await connection.model_config(frontend))
            for reads, frontend in frontends.items()
        }

    async def __aenter__(self) -> P:
        self._pipeline = await self._open()
        return self._pipeline

    async def __aexit__(self, *_: object) -> None:
        await self._pipeline.close()


@overload
def pipeline(
    task: Literal["question-answering"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[QuestionAnswering]: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[ZeroShotClassification]: ...
@overload
def pipeline(task: Literal["rerank"], model: str = ..., url: str = ..., **options: Any) -> _Opening[Rerank]: ...
@overload
def pipeline(
    task: Literal["sentence-similarity"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[SentenceSimilarity]: ...
@overload
def pipeline(
    task: Literal["sparse-embedding"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[SparseEmbedding]: ...
@overload
def pipeline(
    task: Literal["text-generation"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[TextGeneration]: ...
@overload
def pipeline(
    task: Literal["image-feature-extraction"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[ImageFeatureExtraction]: ...
@overload
def pipeline(
    task: Literal["zero-shot-image-classification"], model: str = ..., url: str = ..., **options: Any
) -> _Opening[ZeroShotImageClassification]: ...
@overload
def pipeline(task: str | None = ..., model: str = ..., url: str = ..., **options: Any) -> _Opening[TaskPipeline]: ...
def pipeline(
    task: str | None = None,
    model: str = "",
    url: str = "localhost:8001",
    *,
    connection: AsyncConnection | None = None,
    timeout: float = 60.0,
    retries: int = 3,
    headers: Mapping[str, str] | None = None,
    tls: Any = None,
    **options: Any,
) -> _Opening[Any]:
    """Like `hf2triton_client.pipeline`, with an `AsyncConnection` as `connection`. Await the result, or enter it with
    `async with`; calls of the pipeline, its other methods and `close` are coroutines, except methods that only compare
    embeddings. An iterator as input returns an asynchronous iterator."""
    return _Opening(task, model, connection or Target(url, timeout, retries, headers or {}, tls), options)
