"""The channel to a server: opened anew where it has found nobody, and in a forked process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ..errors import ClientError, ConnectionClosed, ConnectionFailed, DeadlineExceeded, InputError, from_rpc
from . import forks
from .target import Target

#: Seconds that a channel on which nobody answered is used on. gRPC looks up a name that it did not find after ever longer
#: pauses, up to 2 minutes; a new channel looks at once.
_RENEW_AFTER = 1.0


class _Stub(service_pb2_grpc.GRPCInferenceServiceStub):
    def __init__(self, channel: Any) -> None:
        super().__init__(channel)
        # Each stream has one request. Sent by itself it needs no thread and no task of its own, and it cannot fail in between:
        # of a connection that ends just then gRPC's asyncio says "Internal error from Core".
        self.ModelStreamInfer = channel.unary_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )


class Link:
    """Holds one channel of `library`, which is `grpc` or `grpc.aio`. Threads may share it.

    A channel that is replaced ends when the calls on it have. Raises AccessDenied where files of TLS are not what they should
    be, ClientError where this process cannot use gRPC, and ConnectionClosed once the link is closed.
    """

    def __init__(self, target: Target, library: Any = grpc) -> None:
        self._target, self._library = target, library
        self._lock = threading.Lock()
        self._closed = False
        self._open()
        forks.tell(self)

    def stub(self) -> _Stub:
        """For one try of a call, within `errors`."""
        self.require_open()
        if self._is_stale():
            with self._lock:
                self.require_open()
                if self._is_stale():
                    self._open()
        return self._stub

    @contextmanager
    def errors(self, first: int = 0) -> Iterator[None]:
        """Turns the errors of a try into ours. `first`: where the first input of the request stands in the call."""
        with self.unless_closed():
            try:
                with self._target.errors_mapped(first):
                    yield
            except asyncio.CancelledError as error:
                if task_is_cancelled() is not False:
                    raise
                # gRPC's asyncio says so of a stream that the other side has cancelled, or another task of this one
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
        """Raises ConnectionClosed for what is begun on a closed link, and for what closing it has ended. gRPC and pools of
        threads have errors of their own for these."""
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
        """Ends the channel and the calls on it: for asyncio, what is to be awaited. May be called twice."""
        with self._lock:  # nobody is about to open another channel
            self._closed = True
            return None if self._channel is None else self._channel.close()

    def inherited(self) -> None:
        """In a child: nothing of the parent's channel is used, nor ended. The next call opens another."""
        forks.keep(self._channel, self._stub)
        self._channel = self._stub = None
        self._lock = threading.Lock()

    def require_open(self) -> None:
        """Raises ConnectionClosed."""
        if self._closed:
            raise ConnectionClosed(f"the connection to {self._target.url} was closed: open another one")

    def _is_stale(self) -> bool:
        return self._stub is None or (self._nobody and time.monotonic() - self._opened > _RENEW_AFTER)

    def _open(self) -> None:
        forks.require(for_asyncio=self._library is not grpc)
        with self._target.errors_mapped():
            self._channel = self._target.channel(self._library)
        self._stub = _Stub(self._channel)
        self._opened, self._nobody, self._answered = time.monotonic(), False, False

    def _note_answer(self) -> None:
        self._nobody, self._answered = False, True


def task_is_cancelled() -> bool | None:
    """Whether somebody has cancelled the task that runs. None before Python 3.11, where nobody knows."""
    task = asyncio.current_task()
    return task.cancelling() > 0 if hasattr(task, "cancelling") else None
