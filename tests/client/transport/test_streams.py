"""Texts that are read while they are generated: however they are left, the server learns of it; blocking and with asyncio."""

import asyncio
import contextlib
import threading

import pytest

from ..stream_script import cancelled_within, in_asyncio


def by_break(pipe):
    for piece in pipe.stream("endless"):
        assert piece == " 0"
        break


def by_an_exception(pipe):
    with contextlib.suppress(KeyError):
        for _ in pipe.stream("endless"):
            raise KeyError


def by_forgetting(pipe):
    pieces = pipe.stream("endless")
    next(pieces)


def by_closing(pipe):
    pieces = pipe.stream("endless", return_full_text=True)
    assert [next(pieces), next(pieces)] == ["endless", " 0"]
    pieces.close()
    pieces.close()
    assert list(pieces) == []
    return pieces


def by_leaving_the_block(pipe):
    with pipe.stream("endless") as pieces:
        next(pieces)
    assert list(pieces) == []
    return pieces


@pytest.mark.parametrize("leave", [by_break, by_an_exception, by_forgetting, by_closing, by_leaving_the_block])
@pytest.mark.usefixtures("no_garbage_collection")
def test_leaving_a_stream_ends_it_on_the_server(triton, pipe, leave):
    """However the loop is left, the server learns of it at once."""
    _still_referred_to = leave(pipe)
    triton.wait_for_cancelled("endless")


def test_a_last_response_is_followed_to_the_end_of_its_stream(triton, pipe):
    """Whoever leaves with the last piece in hand cancels nothing: Triton keeps requests that are cancelled just then."""
    with pipe.stream("lingers") as pieces:
        assert next(pieces) == " whole"

    async def use(pipe):
        async with pipe.stream("lingers") as pieces:
            assert await anext(pieces) == " whole"

    in_asyncio(triton, use)
    pipe("a")
    assert triton.cancelled == set()


def test_another_thread_may_close_a_stream(triton, pipe):
    """A loop that waits for the next piece ends; it does not fail."""
    pieces = pipe.stream("silent")
    timer = threading.Timer(0.2, pieces.close)
    timer.start()
    assert list(pieces) == []
    triton.wait_for_cancelled("silent")
    timer.join()


async def async_by_break(pipe):
    async for piece in pipe.stream("endless"):
        assert piece == " 0"
        break


async def async_by_forgetting(pipe):
    await anext(pipe.stream("endless"))


async def async_by_closing(pipe):
    pieces = pipe.stream("endless")
    await anext(pieces)
    await pieces.close()
    await pieces.close()
    assert [piece async for piece in pieces] == []
    return pieces


async def async_by_leaving_the_block(pipe):
    with contextlib.suppress(KeyError):
        async with pipe.stream("endless") as pieces:
            await anext(pieces)
            raise KeyError
    return pieces


async def async_by_cancelling_the_task(pipe):
    pieces = pipe.stream("endless")

    async def read():
        async for _ in pieces:
            pass

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 0.2)
    return pieces


@pytest.mark.parametrize(
    "leave",
    [async_by_break, async_by_forgetting, async_by_closing, async_by_leaving_the_block, async_by_cancelling_the_task],
)
@pytest.mark.usefixtures("no_garbage_collection")
def test_leaving_an_asyncio_stream_ends_it_on_the_server(triton, leave):
    """As for blocking streams; cancelling the task that reads is one more way."""

    async def use(pipe):
        _still_referred_to = await leave(pipe)
        await cancelled_within(triton, "endless")

    in_asyncio(triton, use)


@pytest.mark.skipif(not hasattr(asyncio.Task, "cancelling"), reason="before Python 3.11 a task cannot tell")
def test_a_task_that_is_cancelled_as_its_stream_is_closed_is_cancelled(triton):
    """Closing ends the loop alone; who has cancelled the task is not forgotten for it."""

    async def use(pipe):
        pieces = pipe.stream("silent")

        async def read():
            async for _ in pieces:
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        await pieces.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    in_asyncio(triton, use)


def test_an_asyncio_stream_may_outlive_its_loop(triton):
    """A stream that is let go of after its event loop is closed says nothing."""

    async def use(pipe):
        pieces = pipe.stream("endless")
        await anext(pieces)
        return pieces

    pieces = in_asyncio(triton, use)
    triton.wait_for_cancelled("endless")
    del pieces
