"""Processes that a caller starts: each is answered over a connection of its own, or refused at once; nobody hangs."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from hf2triton_client import ClientError, connect, errors, pipeline
from hf2triton_client.errors import GenerationInterrupted, ServerBusy, from_rpc
from hf2triton_client.transport.connection import Target

from ..fake_triton import NAME
from .forked import WAYS

#: Way -> how many refusals there are, and what they say. All else is answered. On a busy machine a fork amid calls may not have
#: waited long enough for them.
REFUSED = {
    "amid_calls": (range(6), "of its parent's calls were under way"),
    "held": ([1], "the text is generated for the process that this one was forked from"),
    "asyncio_in_both": ([1], "forked from one that had used gRPC with asyncio"),
    "asyncio_handed_over": ([2], " stays with "),
}


@pytest.fixture(scope="module")
def url():
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.client.transport.forked"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("way", WAYS)
def test_a_child_is_answered_or_refused(url, way):
    """And so is its parent afterwards, in whatever way the child came about."""
    command = [sys.executable, "-m", "tests.client.transport.forked", way, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    refusals = [line for line in done.stdout.splitlines() if line.startswith("refused: ")]
    counts, says = REFUSED.get(way, ([0], ""))
    assert len(refusals) in counts
    assert all(says in refusal for refusal in refusals)


def test_a_connection_is_handed_over_as_it_was_asked_for(url):
    """With its deadline, its retries and its bounds; a pipeline with its options, and one connection for two that share it."""
    target = Target(url, 7.0, 1, {"key": "value"})
    with connect(url, timeout=7.0, retries=1, headers={"key": "value"}, max_in_flight=3) as connection:
        pipes = [pipeline(model=NAME, connection=connection, max_new_tokens=number) for number in (5, 6)]
        one, other = pickle.loads(pickle.dumps(pipes))
        assert one._runner._connection is other._runner._connection
        with one._runner._connection as own:
            assert own is not connection
            assert (own.target, own.max_in_flight) == (target, 3)
            assert one("a") == pipes[0]("a")
        assert other.merged({}) == pipes[1].merged({})
    with pytest.raises(ClientError, match="was closed"):
        pickle.dumps(pipes)


@pytest.mark.parametrize(
    "kind", [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, ClientError)]
)
def test_an_error_reaches_the_process_that_waits_for_it(kind):
    """Pools of processes hand errors on, with all that they say."""
    error = kind("what happened")
    error.said, error.about = "what happened", {"name": "x"}
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (kind, str(error), vars(error))


@pytest.mark.parametrize(
    "error",
    [
        ServerBusy("x", 1.5),
        GenerationInterrupted("x", "And when", 2),
        from_rpc("StatusCode.UNAVAILABLE", "9 requests wait; retry after 2.0 s", "here"),
        from_rpc("StatusCode.UNAVAILABLE", "This protocol is restricted, expecting header 'key'", "here"),
    ],
)
def test_errors_keep_what_they_know(error):
    """When to come back, how far a text came, and the names in an answer."""
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)
