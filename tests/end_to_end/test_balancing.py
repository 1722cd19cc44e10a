"""Several servers behind one name, as a headless service of Kubernetes has them: gRPC's own round-robin in the client."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

from hf2triton.serving import Server
from hf2triton_client import aio, pipeline

from ..conftest import export_asset
from ..support import TEXTS
from .names import names, port_free_on

NAME, MODEL = "triton.example", "sentiment"
#: Two that stay, and one for the test that adds or kills a server.
STAYING, FURTHER = ["127.0.0.1", "127.0.0.2"], "127.0.0.3"
#: As the manifests have it, but sooner: clients look the name up again when a connection ends.
FLAGS = ["--grpc-max-connection-age=1000"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balancing") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp32", name=MODEL)
    return folder


@pytest.fixture(scope="module")
def port():
    """The same for all servers, as that of a service is."""
    return port_free_on([*STAYING, FURTHER])


@pytest.fixture(scope="module")
def staying(repository, port):
    with (
        Server(repository, host=STAYING[0], grpc_port=port, flags=FLAGS) as one,
        Server(repository, host=STAYING[1], grpc_port=port, flags=FLAGS) as other,
    ):
        yield [one, other]


@pytest.fixture
def further(repository, port):
    with Server(repository, host=FURTHER, grpc_port=port, flags=FLAGS) as server:
        yield server


@pytest.fixture
def dns():
    with names() as server:
        server.addresses[NAME] = list(STAYING)
        yield server


def served(server: Server) -> int:
    """How many requests a server has answered."""
    request = urllib.request.Request(f"{server.http_url}/v2/models/{MODEL}/stats", headers={"Connection": "close"})
    with urllib.request.urlopen(request, timeout=30) as response:
        [stats] = json.load(response)["model_stats"]
    return stats["inference_stats"]["success"]["count"]


def served_at_rest(servers: Sequence[Server]) -> list[int]:
    """How many requests each has answered. A server counts a request after its answer has left, so this waits until no
    count has changed for half a second."""
    until = time.monotonic() + 60
    now = [served(server) for server in servers]
    while time.monotonic() < until:
        time.sleep(0.5)
        before, now = now, [served(server) for server in servers]
        if before == now:
            return now
    raise AssertionError("the servers are still answering requests")


def process_of(server: Server) -> psutil.Process:
    """The tritonserver itself."""
    flags = {f"--grpc-address={server.host}", f"--grpc-port={server.ports.grpc}"}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "tritonserver" and flags <= set(process.info["cmdline"] or ()):
            return psutil.Process(process.pid)  # the one found may be kept from an earlier process with this pid
    raise AssertionError(f"no tritonserver listens on {server.url}")


@contextmanager
def callers(classify, texts, expected, count: int, calls: int):
    """`count` threads that each call `calls` times. Yields the numbers of those that are done, and the answers that differ."""
    done, wrong = [], []

    def call(_: int) -> None:
        for number in range(calls):
            if classify(texts) != expected:
                wrong.append(number)
            done.append(number)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(call, index) for index in range(count)]
        yield done, wrong
        for future in futures:
            future.result()  # raises what a call raised


def test_load_spreads(staying, dns, port):
    """A client whose name has two addresses sends every other request to each."""
    before = served_at_rest(staying)
    with pipeline(model=MODEL, url=dns.target(NAME, port)) as classify:
        classify(TEXTS[0])  # connections are made one after the other
        until = time.monotonic() + 60
        while min(now - then for now, then in zip(map(served, staying), before, strict=True)) == 0:
            assert time.monotonic() < until, "one of the two servers is not asked"
            classify(TEXTS[0])
        before = served_at_rest(staying)
        for _ in range(40):
            classify(TEXTS[0])
    spread = [now - then for now, then in zip(served_at_rest(staying), before, strict=True)]
    assert sum(spread) == 40
    assert min(spread) >= 10  # not 20: a connection that is at its end is replaced meanwhile


def test_load_of_the_asyncio_twin_spreads(staying, dns, port):
    """So do requests of the asyncio client."""

    async def ask() -> None:
        async with aio.pipeline(model=MODEL, url=dns.target(NAME, port)) as classify:
            for _ in range(60):
                await classify(TEXTS[0])

    before = served_at_rest(staying)
    asyncio.run(ask())
    spread = [now - then for now, then in zip(served_at_rest(staying), before, strict=True)]
    assert sum(spread) == 60
    assert min(spread) >= 10


def test_a_killed_server_costs_no_failed_request(staying, further, dns, port):
    """Requests that are with a server when it is killed are answered by the others."""
    dns.addresses[NAME].append(FURTHER)
    threads, calls = 4, 60
    with pipeline(model=MODEL, url=dns.target(NAME, port)) as classify:
        expected = classify(TEXTS)
        warmed_up = served(further)
        with callers(classify, TEXTS, expected, threads, calls) as (done, wrong):
            until = time.monotonic() + 60
            while served(further) == warmed_up:
                assert time.monotonic() < until, "the server that will be killed is not asked"
                time.sleep(0.01)
            process = process_of(further)
            process.suspend()  # it takes requests and answers none: those that it has are in flight for certain
            settled = -1
            while settled != len(done) and len(done) < threads * calls:
                settled = len(done)
                time.sleep(1)
            assert len(done) < threads * calls, "no request was with the server when it was killed"
            process.kill()
        assert len(done) == threads * calls
    assert wrong == []


def test_a_new_server_is_picked_up(staying, further, dns, port):
    """A client that is at work sends requests to a server that was added to the name, without a failed one."""
    with pipeline(model=MODEL, url=dns.target(NAME, port)) as classify:
        expected, warmed_up = classify(TEXTS[0]), served(further)
        dns.addresses[NAME].append(FURTHER)
        until = time.monotonic() + 90
        while served(further) == warmed_up:
            assert time.monotonic() < until, f"the new server is not asked; the name was looked up {dns.asked} times"
            assert classify(TEXTS[0]) == expected
            time.sleep(0.02)
