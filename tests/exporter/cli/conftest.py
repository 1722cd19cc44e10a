"""A server with an entry for each kind of question, and one that wants a token with every call."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from ... import conftest

#: name -> family and task.
ENTRIES = {
    "sentiment": ("bert", "text-classification"),
    "answers": ("bert", "question-answering"),
    "similar": ("bert", "sentence-similarity"),
    "clothes": ("vit", "image-classification"),
    "verses": ("gpt2", "text-generation"),
}
TOKEN = ("authorization", "Bearer sesame")


@pytest.fixture(scope="session")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the ENTRIES."""

    def make(folder: Path) -> None:
        for name, (family, task) in ENTRIES.items():
            conftest.export_asset(folder, family, task, "fp32", name=name)

    return conftest.made_once(tmp_path_factory, "asked", make)


@pytest.fixture(scope="session")
def url(entries: Path) -> Iterator[str]:
    """The address of a server with the ENTRIES."""
    from hf2triton.serving import Server

    with Server(entries, shared_memory=True) as server:
        yield server.url


@pytest.fixture
def guarded(url: str) -> Iterator[str]:
    """The address of a gateway before the server, which refuses each call that has not TOKEN among its headers."""

    class Gateway(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            def forward(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
                if TOKEN not in context.invocation_metadata():
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
                try:
                    yield from channel.stream_stream(details.method)(requests, timeout=context.time_remaining())
                except grpc.RpcError as error:
                    context.abort(error.code(), error.details())

            return grpc.stream_stream_rpc_method_handler(forward)

    with grpc.insecure_channel(url) as channel:
        server = grpc.server(ThreadPoolExecutor(16), handlers=[Gateway()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None)
