"""A server that is away for a while, and a client that was there before and stays."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from hf2triton_client import ConnectionFailed, aio, connect, pipeline

from ..fake_triton import NAME

#: Seconds that the server is away. By then gRPC's own pauses between two tries to connect are 5 s and more.
AWAY = 9.0
#: Seconds after which it must be found again: 2 s, and as long as a busy machine may take.
SOON = 4.0

SERVER = """
import sys, time
from tests.client.fake_triton import FakeTriton, response
with FakeTriton(lambda seen, context: iter([response(["fine"], ["length"])]), port=int(sys.argv[1])) as triton:
    print(triton.url, flush=True)
    time.sleep(3600)
"""


@contextmanager
def serving(port: int = 0):
    """The url of a server in a process of its own, which is killed at the end."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


def test_a_server_that_is_back_is_found_soon():
    """By pipelines that were open, blocking and asyncio, and by a new one, while all had been asking all the time."""

    async def watch(url: str, came_back: asyncio.Future) -> list[float]:
        """Seconds from the server's return to the first answer of each."""
        old = pipeline(model=NAME, url=url, timeout=30, retries=0)
        twin = await aio.pipeline(model=NAME, url=url, timeout=30, retries=0)

        async def sync() -> None:
            await asyncio.to_thread(old, "a")

        async def new() -> None:
            def ask() -> None:
                with pipeline(model=NAME, url=url, timeout=30, retries=0) as own:
                    own("a")

            await asyncio.to_thread(ask)

        async def until_answered(ask) -> float:
            while True:
                try:
                    await ask()
                except ConnectionFailed:  # and no other error
                    await asyncio.sleep(0.05)
                else:
                    if came_back.done():
                        return time.monotonic() - came_back.result()

        try:
            return await asyncio.gather(*map(until_answered, (sync, lambda: twin("a"), new)))
        finally:
            old.close()
            await twin.close()

    async def run() -> list[float]:
        came_back = asyncio.get_running_loop().create_future()
        with serving() as url:
            watching = asyncio.ensure_future(watch(url, came_back))
            await asyncio.sleep(1)
        await asyncio.sleep(AWAY)
        with serving(int(url.rpartition(":")[2])):
            came_back.set_result(time.monotonic())
            return await asyncio.wait_for(watching, 60)

    assert max(asyncio.run(run())) < SOON


class Leaving:
    """A server that ends each connection at its first request, which it says it has not begun (RFC 9113, 6.8). `requests`: how
    many have come."""

    def __enter__(self):
        self.requests = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self):
        settings, go_away = b"\0\0\0\4\0\0\0\0\0", b"\0\0\x08\7\0\0\0\0\0" + bytes(8)
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                connection.sendall(settings)
                file.read(24)  # the preface
                while len(head := file.read(9)) == 9:
                    file.read(int.from_bytes(head[:3], "big"))
                    if head[3] == 1:  # HEADERS
                        self.requests += 1
                        connection.sendall(go_away)
                        break


@pytest.mark.parametrize("retries", [0, 2])
def test_the_client_alone_sends_requests_again(retries):
    """As often as it was told: gRPC has no tries of its own, with which a stream may never end when its server is gone."""
    with Leaving() as server, connect(server.url, timeout=30, retries=retries) as connection:
        with pytest.raises(ConnectionFailed):
            connection.model_config(NAME)
        assert server.requests == retries + 1
