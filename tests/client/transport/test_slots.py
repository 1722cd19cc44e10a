"""What waits for a place of a connection: bounded in number and by its deadline, for threads and for asyncio."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from hf2triton_client import DeadlineExceeded, ServerBusy
from hf2triton_client.transport.slots import AsyncSlots, Slots

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
    with pytest.raises(ServerBusy, match=r"1 requests wait .* no more may.*retry after") as raised:
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


def pace(slots, seconds: float) -> None:
    """Has places been taken for so long."""
    slots._took.extend([seconds] * slots._took.maxlen)


def test_what_cannot_have_its_turn_before_its_deadline_is_refused_at_once():
    """With a hint; what may have it waits. How long places are taken is not guessed from a few requests."""
    slots = Slots(2)
    held = [slots.take(time.monotonic() + FAR) for _ in range(2)]
    slots._took.extend([1000.0] * 3)
    with pytest.raises(DeadlineExceeded):
        slots.take(time.monotonic() + 0.01)
    pace(slots, 100.0)
    with pytest.raises(ServerBusy, match=r"too many for its deadline; retry after 50.0 s") as raised:
        slots.take(time.monotonic() + 40.0)
    assert raised.value.retry_after == 50.0
    thread = threading.Thread(target=lambda: slots.take(time.monotonic() + 60)(None))
    thread.start()
    waiting(slots, 1)
    for give_back in held:
        give_back(None)
    thread.join(20)


def test_one_quick_request_of_the_last_ones_is_believed():
    """Whether a deadline can be met is judged by the quickest, so that a few slow ones cost nobody an answer."""
    slots = Slots(1)
    give_back = slots.take(time.monotonic() + FAR)
    pace(slots, 1000.0)
    slots._took.append(0.001)
    with pytest.raises(DeadlineExceeded):
        slots.take(time.monotonic() + 0.05)
    give_back(None)


def test_tasks_that_wait_in_vain_end_as_soon_as_that_is_known(monkeypatch):
    """The last of them first, and no more than have to: those whose turn may come before their deadline go on."""
    now = 0.0
    monkeypatch.setattr("hf2triton_client.transport.slots.time", SimpleNamespace(monotonic=lambda: now))

    async def run():
        nonlocal now
        slots = AsyncSlots(1)

        async def work():
            async with slots.place(100.0):
                pass

        async with slots.place(FAR):
            tasks = [asyncio.ensure_future(work()) for _ in range(50)]
            await asyncio.sleep(0)
            pace(slots, 5.0)
            now = 5.0
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(run())
    # the first has its turn at 5 s, and behind it 19 have theirs by 100 s
    assert [type(one) for one in ended] == [type(None)] * 20 + [ServerBusy] * 30


def test_a_task_that_is_cancelled_as_it_is_refused_has_no_place_to_give_back():
    """There are never more places than there were."""

    async def run():
        slots = AsyncSlots(1)

        async def work():
            async with slots.place(time.monotonic() + 10):
                pass

        async with slots.place(time.monotonic() + FAR):
            task = asyncio.ensure_future(work())
            await asyncio.sleep(0)
            slots._expire(slots._queue[0][0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert slots._free == 0
        assert slots._free == 1

    asyncio.run(run())
