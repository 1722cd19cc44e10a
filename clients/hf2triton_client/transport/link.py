"""The channel to a server. It is replaced when the server does not answer on it, and in a forked process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from ..errors import ClientError, ConnectionClosed, ConnectionFailed, DeadlineExceeded, InputError, from_rpc
from . import forks
from .protocol import ModelInferRequest, ModelStreamInferResponse
from .target import Target

#: How many seconds a channel stays in use without an answer. gRPC looks up a name that it did not find after ever longer
#: pauses, up to 2 minutes; a new channel looks it up at once.
_RENEW_AFTER = 1.0


def _stub(channel: Any) -> Any:
    """Returns Triton's stub on a channel, with a `ModelStreamInfer` that takes a single request.

    Each of our streams has one request. Sent this way, it needs no thread or task and cannot fail halfway: if the connection
    ended at that moment, gRPC's asyncio would raise "Internal error from Core".
    """
    stub = GRPCInferenceServiceStub(channel)
    stub.ModelStreamInfer = channel.unary_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=ModelInferRequest.SerializeToString,
        response_deserializer=ModelStreamInferResponse.FromString,
    )
    return stub


class Link:
    """Holds one channel of `library`, which is `grpc` or `grpc.aio`. Threads can share it.

    A replaced channel ends when its last call has ended. Raises AccessDenied if a TLS file is wrong, ClientError if this process
    cannot use gRPC, and ConnectionClosed once the link is closed.
    """

    def __init__(self, target: Target, library: Any = grpc) -> None:
        self._target, self._library = target, library
        self._lock = threading.Lock()
        self._closed = self._nobody = self._answered = False
        self._channel: Any = None
        self._stub: Any = None
        self._opened = 0.0
        self._open()
        forks.tell(self)

    def stub(self) -> Any:
        """Returns the stub for one try of a call, within `errors`."""
        self.require_open()
        if self._is_stale():
            with self._lock:
                self.require_open()
                if self._is_stale():
                    self._open()
        return self._stub

    @contextmanager
    def errors(self, first: int = 0) -> Iterator[None]:
        """Turns the errors of a try into ours. `first`: the position in the call of the request's first input."""
        with self.unless_closed():
            try:
                with self._target.errors_mapped(first):
                    yield
            except asyncio.CancelledError as error:
                if task_is_cancelled() is not False:
                    raise
                # gRPC's asyncio also raises this if the server, or another task of this process, cancelled the stream
                raise from_rpc("CANCELLED", "", self._target.url) from error
            except ConnectionFailed:
                self._nobody = True
                raise
            except DeadlineExceeded:
                self._nobody = self._nobody or not self._answered
                raise
            except ClientError:
                self._note_answer()
                raise
            else:
                self._note_answer()

    @contextmanager
    def unless_closed(self) -> Iterator[None]:
        """Raises ConnectionClosed for calls on a closed link and for calls that closing cuts off; gRPC and thread pools
        would raise other errors."""
        self.require_open()
        try:
            yield
        except (InputError, ConnectionClosed):
            raise
        except (Exception, asyncio.CancelledError) as error:
            if not self._closed or (isinstance(error, asyncio.CancelledError) and task_is_cancelled()):
                raise
            raise ConnectionClosed(
                f"the connection to {self._target.url} was closed while it was asked: open another one"
            ) from error

    def close(self) -> Any:
        """Ends the channel and its calls. Returns an awaitable for asyncio. Can be called twice."""
        with self._lock:  # no other thread is opening a channel
            self._closed = True
            return None if self._channel is None else self._channel.close()

    def inherited(self) -> None:
        """Called in a forked child: neither uses nor ends the parent's channel. The next call opens a new channel."""
        forks.keep(self._channel, self._stub)
        self._channel = self._stub = None
        self._lock = threading.Lock()

    def require_open(self) -> None:
        """Raises ConnectionClosed if the link is closed."""
        if self._closed:
            raise ConnectionClosed(f"the connection to {self._target.url} was closed: open another one")

    def _is_stale(self) -> bool:
        return self._stub is None or (self._nobody and time.monotonic() - self._opened > _RENEW_AFTER)

    def _open(self) -> None:
        forks.require(for_asyncio=self._library is not grpc)
        with self._target.errors_mapped():
            self._channel = self._target.channel(self._library)
        self._stub = _stub(self._channel)
        self._opened, self._nobody, self._answered = time.monotonic(), False, False

    def _note_answer(self) -> None:
        self._nobody, self._answered = False, True


def task_is_cancelled() -> bool | None:
    """Returns whether the running task has been cancelled. None before Python 3.11, which cannot tell."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return None if cancelling is None else bool(cancelling())
