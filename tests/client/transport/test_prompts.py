"""Many prompts: how many are under way at the same time, and how they end together; blocking and with asyncio."""

import asyncio
import itertools

import pytest

from hf2triton_client import ServerError, connect, pipeline

from ..fake_triton import NAME
from ..stream_script import SLOTS, cancelled_within, in_asyncio


def test_as_many_prompts_are_under_way_as_there_are_slots(triton, pipe):
    """Answers come in order; no more prompts are sent at a time than the server has slots, or the connection allows."""
    texts = [f"waits {0.3 if index == 0 else 0.02}" for index in range(12)]
    expected = [[{"generated_text": f" {text.split()[1]}"}] for text in texts]
    assert pipe(texts) == expected
    assert triton.most_at_once == max(SLOTS, 4)
    with connect(triton.url, max_in_flight=6) as connection:
        own = pipeline(model=NAME, connection=connection, return_full_text=False)
        assert own(texts) == expected
    assert triton.most_at_once == 6


def test_an_iterator_is_read_as_its_prompts_are_sent(triton, pipe):
    """Results come one by one; leaving them ends what is under way and reads no more."""
    read = []

    def endless():
        for index in itertools.count():
            read.append(index)
            yield "silent" if index else "a"

    results = pipe(endless())
    assert next(results) == [{"generated_text": " whole"}]
    results.close()
    triton.wait_for_cancelled("silent")
    assert len(read) <= 1 + max(SLOTS, 4)


@pytest.mark.parametrize("inputs", [list, iter])
def test_the_first_failure_ends_the_others(triton, pipe, inputs):
    """Whichever prompt fails first, its error is raised at once and the others are cancelled."""
    texts = ["silent", "silent", "waits 0.1", "fails INTERNAL", *["a"] * 50]
    with pytest.raises(ServerError, match="the reason"):
        list(pipe(inputs(texts)))
    triton.wait_for_cancelled("silent")
    assert len(triton.seen) < 10


def test_asyncio_gives_the_same(triton):
    """Calls, lists, iterators and streams have the results, the metadata and the retries of the blocking pipeline."""

    async def use(pipe):
        pieces = pipe.stream("a", return_full_text=True)
        return {
            "call": await pipe("busy call"),
            "list": await pipe(["waits 0.1", "a"]),
            "iterator": [result async for result in pipe(iter(["waits 0.1", "a"]))],
            "stream": [piece async for piece in pieces],
            "reason": pieces.metadata.finish_reason,
        }

    whole, waited = [{"generated_text": " whole"}], [{"generated_text": " 0.1"}]
    assert in_asyncio(triton, use) == {
        "call": whole,
        "list": [waited, whole],
        "iterator": [waited, whole],
        "stream": ["a", " whole"],
        "reason": "eos",
    }


def test_asyncio_prompts_go_together_and_end_together(triton):
    """As many as there are slots; the first failure, or cancelling the call, ends all that are under way."""

    async def use(pipe):
        await pipe([f"waits {0.01 * index}" for index in range(12)])
        assert triton.most_at_once == max(SLOTS, 4)
        with pytest.raises(ServerError, match="the reason"):
            await pipe(["silent", "fails INTERNAL", "fails INTERNAL", "silent", *["a"] * 50])
        await cancelled_within(triton, "silent")
        assert len(triton.seen) < 12 + 10
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pipe(["silent 1", "silent 2"]), 0.2)
        await cancelled_within(triton, "silent 1", "silent 2")

    in_asyncio(triton, use)
