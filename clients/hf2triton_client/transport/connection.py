"""A blocking connection to a Triton server: configs, statistics, model control, inference and streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import tritonclient.grpc as triton
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ..errors import ClientError, ConnectionClosed, ModelNotFound
from . import forks
from .link import Link
from .protocol import (
    ModelConfigRequest,
    ModelInferRequest,
    ModelMetadataRequest,
    ModelStatisticsRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
    ServerMetadataRequest,
)
from .retries import Tries
from .slots import MOST_WAITING, Slots
from .target import Target, numbered
from .tls import Tls

__all__ = ["Connection", "Request", "Target", "connect", "numbered", "unknown_model"]


@dataclass(frozen=True)
class Request:
    """One inference request, ready to be sent. `first`: the number of its first input in the call."""

    message: ModelInferRequest
    first: int = 0

    @property
    def model(self) -> str:
        return self.message.model_name


def unknown_model(name: str, ready: Sequence[str], error: ModelNotFound) -> ModelNotFound:
    """`error`, with the names of the models that are ready."""
    known = ", ".join(sorted(ready)) or "none"
    return ModelNotFound(f"model {name!r} is not served here; ready: {known}. The server says: {error}")


class Connection:
    """A connection that opens on first use. The code that creates it closes it.

    Threads can share it. Forked processes can share it too, if none of its calls is under way at the fork: each process opens
    its own channels.

    `max_in_flight`: how many requests may be under way at the same time, across all calls that send several requests. Calls
    that send a single request do not count. `max_waiting`: how many calls may wait for a place (10,000). Leaving the `with`
    block, or `close()`, ends the channel; the connection holds no other resource. Calls on a closed connection, and calls that
    closing cuts off, raise ConnectionClosed. A process that receives a pickled connection or pipeline opens its own connection
    to the same server.
    """

    def __init__(self, target: Target, max_in_flight: int = 4, max_waiting: int = MOST_WAITING) -> None:
        self.target = target
        self.max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self.link = Link(target)
        self.known: set[str] = set()  # models that have answered
        self._make_pool()
        forks.tell(self)

    def model_config(self, name: str) -> dict[str, Any]:
        """Returns the served config.pbtxt of a model, as the JSON form of the protobuf.

        Raises ModelNotFound (with the names of the models that are ready) and the errors of the connection.
        """
        try:
            return self._config(name, known=name in self.known, opening=True)
        except ModelNotFound as error:
            raise unknown_model(name, self.ready_models(), error) from error

    def find_config(self, name: str, version: str = "") -> dict[str, Any] | None:
        """Like `model_config`, for the newest version or a given one, but None if there is no such model."""
        try:
            return self._config(name, known=False, version=version)
        except ModelNotFound:
            return None

    def served_versions(self, name: str) -> list[str]:
        """Returns the served versions of a model."""
        message = ModelMetadataRequest(name=name)
        return list(self._ask("ModelMetadata", message, name in self.known).versions)

    def server_name(self) -> str:
        """Returns the server's name, version and address."""
        about = self._ask("ServerMetadata", ServerMetadataRequest())
        return f"{about.name} {about.version} at {self.target.url}"

    def ready_models(self) -> list[str]:
        """Returns the names of the models that are ready. They come from the statistics, because listing a repository is
        often restricted."""
        try:
            statistics = self._ask("ModelStatistics", ModelStatisticsRequest(), known=False)
        except ConnectionClosed:
            raise
        except ClientError:
            return []
        return sorted({model.name for model in statistics.model_stats})

    def compute_time(self, name: str) -> tuple[int, float]:
        """Returns how many requests all versions of a model have answered, and the seconds spent computing them, including
        copies."""
        message = ModelStatisticsRequest(name=name)
        own = [model.inference_stats for model in self._ask("ModelStatistics", message, name in self.known).model_stats]
        took = sum(part.ns for one in own for part in (one.compute_input, one.compute_infer, one.compute_output))
        return sum(one.success.count for one in own), took / 1e9

    def load_model(self, name: str, config: str | None = None, timeout: float = 600.0) -> None:
        """Makes the server load or reload a model (a new version or another config) and waits until it is ready. `config`: a
        config, as JSON, to use instead of the repository's. The server must run with explicit model control, and may require
        a header."""
        message = RepositoryModelLoadRequest(model_name=name)
        if config is not None:
            message.parameters["config"].string_param = config
        # use a separate channel, whose keep-alive tolerates silence for that long
        with self.link.unless_closed(), Connection(replace(self.target, timeout=timeout)) as own:
            own._ask("RepositoryModelLoad", message, known=None)

    def unload_model(self, name: str) -> None:
        """Makes the server unload a model after it has answered all earlier requests. As for `load_model`, the server must run
        with explicit model control."""
        self.known.discard(name)
        self._ask("RepositoryModelUnload", RepositoryModelUnloadRequest(model_name=name), known=None)

    def infer(self, request: Request) -> triton.InferResult:
        """Sends one request and waits for its answer."""
        return self._infer(request, Tries(self.target))

    def infer_all(self, requests: Sequence[Request]) -> list[triton.InferResult]:
        """Sends requests, `max_in_flight` at a time, and returns the answers in the order of the requests.

        A request's timeout starts when fewer than `max_in_flight` requests of this call are under way, even if it then waits
        for requests of other calls. The first failure is raised, and unsent requests are dropped.
        """
        if len(requests) <= 1:
            return [self.infer(request) for request in requests]
        futures: list[Future[triton.InferResult]] = []
        failed: list[Future[triton.InferResult]] = []
        own = threading.Semaphore(self.max_in_flight)

        def end(future: Future[triton.InferResult]) -> None:
            if not future.cancelled() and future.exception() is not None:
                failed.append(future)
            own.release()

        with self.link.unless_closed():
            try:
                for request in requests:
                    own.acquire()
                    if failed:
                        break
                    tries = Tries(self.target)
                    give_back = self._slots.take(tries.until)
                    futures.append(self._pool.submit(self._infer, request, tries))
                    futures[-1].add_done_callback(give_back)
                    futures[-1].add_done_callback(end)
                return [future.result() for future in failed or futures]
            finally:
                for future in futures:
                    future.cancel()

    def stream_infer(self, message: ModelInferRequest, timeout: float) -> Any:
        """Sends one request once, on its own stream. Returns an iterator of `ModelStreamInferResponse` with a `cancel` method.

        `timeout`: seconds until the stream is given up.
        """
        forks.enter()
        try:
            send = self.link.stub().ModelStreamInfer
            call = send(message, metadata=[*self.target.headers.items()], timeout=timeout)
        except BaseException:
            forks.leave()
            raise
        if not call.add_callback(forks.leave):  # it has already ended
            forks.leave()
        return call

    def close(self) -> None:
        """Ends the channel and all calls under way. Can be called twice, and from another thread."""
        self.link.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def inherited(self) -> None:
        """Called in a forked child, which does not have the parent's threads."""
        forks.keep(self._pool)
        self._make_pool()

    def __reduce__(self) -> Any:
        self.link.require_open()
        return type(self), (self.target, self.max_in_flight, self._max_waiting)

    def _make_pool(self) -> None:
        self._pool = ThreadPoolExecutor(self.max_in_flight, thread_name_prefix="hf2triton-client")
        self._slots = Slots(self.max_in_flight, self._max_waiting)

    def _infer(self, request: Request, tries: Tries) -> triton.InferResult:
        model = request.model
        answer = self._tried("ModelInfer", request.message, tries, model in self.known, request.first)
        self.known.add(model)
        return triton.InferResult(answer)

    def _config(self, name: str, known: bool, version: str = "", opening: bool = False) -> dict[str, Any]:
        message = ModelConfigRequest(name=name, version=version)
        answer = self._tried("ModelConfig", message, Tries(self.target, opening), known)
        self.known.add(name)
        config: dict[str, Any] = MessageToDict(answer, preserving_proto_field_name=True)["config"]
        return config

    def _ask(self, method: str, message: Message, known: bool | None = True) -> Any:
        """Returns the answer to a method of the protocol. `known`: see `Tries.pause`."""
        return self._tried(method, message, Tries(self.target), known)

    def _tried(self, method: str, message: Message, tries: Tries, known: bool | None, first: int = 0) -> Any:
        while True:
            try:
                with forks.calling(), self.link.errors(first):
                    call = getattr(self.link.stub(), method)
                    return call(message, timeout=tries.seconds(), metadata=[*self.target.headers.items()])
            except ClientError as error:
                time.sleep(tries.pause(error, known))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    url: str = "localhost:8001",
    *,
    timeout: float = 60.0,
    retries: int = 3,
    headers: Mapping[str, str] | None = None,
    tls: Tls | None = None,
    max_in_flight: int = 4,
    max_waiting: int = MOST_WAITING,
) -> Connection:
    """Returns a connection that several pipelines can share: `pipeline(task, model=NAME, connection=connection)`.

    `url`: `host:port` of the server's gRPC endpoint; `grpcs://host:port` for TLS, with the files of the folder
    $HF2TRITON_CLIENT_TLS unless `tls` is given. `timeout`: seconds a request may take, including retries and waiting for its
    place. `retries`: further tries when the server is unreachable or busy; 0 disables retries, even if the model is moving to
    another server. `headers`: sent with each call. `max_in_flight`: requests under way at the same time, across all calls that
    send several. `max_waiting` (10,000): calls that may wait for a place among those; further calls raise ServerBusy.
    Raises InputError and AccessDenied.
    """
    return Connection(Target(url, timeout, retries, headers or {}, tls), max_in_flight, max_waiting)
