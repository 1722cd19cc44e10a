"""What waits for a place of a connection: bounded in number and by its deadline, for threads and for asyncio."""

import asyncio
import threading
import time

import pytest

from hf2triton_client import DeadlineExceeded, ServerBusy
from hf2triton_client.slots import AsyncSlots, Slots

FAR = 3600.0


def waiting(slots: Slots, count: int) -> None:
    """Until that many threads wait for a place."""
    until = time.monotonic() + 20
    while slots._waiting < count:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_place_that_is_given_back_goes_to_whoever_waits():
    """With one place, a second thread gets it when the first is done."""
    slots = Slots(1)
    give_back = slots.take(time.monotonic() + FAR)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(slots.take(time.monotonic() + FAR)))
    thread.start()
    waiting(slots, 1)
    assert taken == []
    give_back(None)
    thread.join(20)
    assert len(taken) == 1


def test_too_many_that_wait_are_refused_with_a_hint():
    """One more than may wait raises ServerBusy at once, which says after how many seconds to try again."""
    slots = Slots(1, most_waiting=1)
    slots.take(time.monotonic() + FAR)(None)  # so that it is known how long a place is taken
    give_back = slots.take(time.monotonic() + FAR)
    thread = threading.Thread(target=lambda: slots.take(time.monotonic() + FAR)(None))
    thread.start()
    waiting(slots, 1)
    with pytest.raises(ServerBusy, match="1 requests wait .* no more may.*retry after") as raised:
        slots.take(time.monotonic() + FAR)
    assert raised.value.retry_after >= 0
    give_back(None)
    thread.join(20)


def test_waiting_ends_at_the_deadline():
    """What has no place by its deadline is not sent, and leaves the place to others."""
    slots = Slots(1)
    give_back = slots.take(time.monotonic() + FAR)
    with pytest.raises(DeadlineExceeded, match="not sent"):
        slots.take(time.monotonic() + 0.05)
    give_back(None)
    slots.take(time.monotonic() + 0.05)


def test_tasks_have_places_in_the_order_in_which_they_came():
    """For asyncio: first come, first served; the same bounds, and what is cancelled or late gives its turn to the next."""

    async def run():
        slots, order = AsyncSlots(1, most_waiting=4), []

        async def work(name, seconds=FAR):
            async with slots.place(time.monotonic() + seconds):
                order.append(name)

        async with slots.place(time.monotonic() + FAR):
            tasks = [asyncio.ensure_future(work(name)) for name in ("a", "cancelled", "b")]
            tasks.append(asyncio.ensure_future(work("late", 0.01)))
            await asyncio.sleep(0.1)
            tasks[1].cancel()
            await asyncio.sleep(0)
            tasks.append(asyncio.ensure_future(work("c")))
            tasks += [asyncio.ensure_future(work(name)) for name in ("d", "one too many")]
            await asyncio.sleep(0)
        return order, await asyncio.gather(*tasks, return_exceptions=True)

    order, ended = asyncio.run(run())
    assert order == ["a", "b", "c", "d"]
    kinds = [type(one) for one in ended if one is not None]
    assert kinds == [asyncio.CancelledError, DeadlineExceeded, ServerBusy]
