"""The engine takes requests from any thread and tells each of them its end, once."""

import threading
import time

import pytest

from hf2triton.triton_models.generation.scheduler import QueueFull

from .callers import Caller, Greedy, broken, finish_all, make_engine
from .tiny_decoder import MAX_LENGTH, PROMPTS, VOCABULARY


@pytest.mark.parametrize(
    ("prompt", "count", "message"),
    [
        ([], 1, "1 to 48 tokens, not 0"),
        ([1] * (MAX_LENGTH + 1), 1, "1 to 48 tokens, not 49"),
        ([1], 0, "max_new_tokens must be 1 or more, not 0"),
        ([1, VOCABULARY], 1, "token 100 is not one of the model's 100"),
        ([-1], 1, "token -1 is not one"),
    ],
)
def test_what_cannot_be_served_is_refused(prompt, count, message):
    """Bad prompts are refused when they are submitted, before they could fail others."""
    with pytest.raises(ValueError, match=message):
        Caller(make_engine(), prompt, count)


@pytest.mark.parametrize("steps", [0, 1, 3, 12])
def test_a_cancelled_request_frees_its_slot_within_one_step(steps):
    """Wherever it is, waiting, joining or generating, its slot goes to the next and no token comes after."""
    scheduler = make_engine(slots=1)
    caller, following = Caller(scheduler, PROMPTS[5], 20), Caller(scheduler, PROMPTS[2], 3)
    for _ in range(steps):
        scheduler.step()
    scheduler.cancel(caller.request)
    before = len(caller.tokens)
    scheduler.step()
    assert before == len(caller.tokens)
    assert len(following.tokens) == 1
    scheduler.cancel(caller.request)  # once more changes nothing
    finish_all(scheduler)
    caller.assert_as_alone("cancelled")
    following.assert_as_alone()


def test_a_waiting_request_can_be_cancelled():
    """It never gets a slot, and leaves its place in the queue to others."""
    scheduler = make_engine(slots=1, max_queue=1)
    first, second = Caller(scheduler, PROMPTS[0], 5), Caller(scheduler, PROMPTS[1], 5)
    scheduler.cancel(second.request)
    scheduler.step()
    assert second.reason == "cancelled"
    third = Caller(scheduler, PROMPTS[2], 5)
    finish_all(scheduler)
    first.assert_as_alone()
    third.assert_as_alone()


def test_a_request_that_is_cancelled_during_a_step_gets_no_token_of_it():
    """A callback cancels its neighbour, whose token of the same step is not handed over any more."""
    scheduler = make_engine()
    first = Caller(
        scheduler, PROMPTS[2], 5, when=lambda tokens: scheduler.cancel(second.request) if tokens == 3 else None
    )
    second = Caller(scheduler, PROMPTS[2], 5)
    finish_all(scheduler)
    first.assert_as_alone()
    second.assert_as_alone("cancelled")
    assert len(second.tokens) == 2


def test_an_error_in_on_finish_is_logged(caplog):
    """The request has ended by then, and the engine goes on."""
    scheduler = make_engine()
    scheduler.submit([1], Greedy(), 1, (), lambda token: None, broken)
    caller = Caller(scheduler, PROMPTS[0], 5)
    finish_all(scheduler)
    caller.assert_as_alone()
    assert "on_finish" in caplog.text


def test_a_full_queue_refuses():
    """As many requests are taken as there are slots and places in the queue; each that ends makes room for one."""
    scheduler = make_engine(slots=2, max_queue=1)
    callers = [Caller(scheduler, PROMPTS[0], 3) for _ in range(3)]
    with pytest.raises(QueueFull, match=r"3 requests are running or waiting.*2 slots and a queue of 1"):
        Caller(scheduler, PROMPTS[0], 3)
    finish_all(scheduler)
    callers += [Caller(scheduler, PROMPTS[0], 3) for _ in range(3)]
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"chunk": 0}, "chunk must be 1 or more, not 0"), ({"max_queue": -1}, "max_queue must be 0 or more, not -1")],
)
def test_an_engine_that_could_serve_nobody_is_refused(options, message):
    """Pieces of no tokens would keep a step going for ever, and a negative queue would keep slots empty."""
    with pytest.raises(ValueError, match=message):
        make_engine(**options)


def test_requests_from_many_threads_are_served():
    """Submitted at the same time from several threads, each request gets its own tokens."""
    with make_engine() as scheduler:
        callers = {}
        threads = [
            threading.Thread(target=lambda prompt=prompt: callers.update({prompt: Caller(scheduler, prompt, 12)}))
            for prompt in PROMPTS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for caller in callers.values():
            assert caller.ended.wait(30)
            caller.assert_as_alone()
    assert len(callers) == len(PROMPTS)


def test_stopping_ends_everything():
    """Whoever generates or waits is told that it is cancelled, the thread ends, and nobody new is taken."""
    started = threading.Event()

    def slowly(tokens):
        started.set()
        time.sleep(0.1)

    before = set(threading.enumerate())  # other tests may have engines that are ending
    with make_engine(slots=1) as scheduler:
        callers = [Caller(scheduler, [n], 40, when=slowly) for n in range(3)]
        assert started.wait(30)
    assert [caller.reason for caller in callers] == ["cancelled"] * 3
    assert callers[0].tokens
    assert "generation" not in {thread.name for thread in set(threading.enumerate()) - before}
    with pytest.raises(RuntimeError, match="stopped"):
        Caller(scheduler, PROMPTS[0], 1)


def test_everyone_is_told_once_whatever_happens_at_the_same_time():
    """Threads submit and cancel without pause while the engine stops: who was taken has one end, who was not an error."""
    scheduler, taken, refused = make_engine(slots=2, max_queue=3), [], []

    def ask(seed):
        for n in range(seed, seed + 1000):
            try:
                taken.append(Caller(scheduler, PROMPTS[n % 8], 3))
            except QueueFull:
                time.sleep(0.001)
            except RuntimeError as error:
                refused.append(str(error))
                return
            else:
                if n % 3 == 0:
                    scheduler.cancel(taken[-1].request)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    with scheduler:
        for thread in threads:
            thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join(30)
    assert refused == ["the scheduler has stopped"] * 4
    assert {caller.reason for caller in taken} == {"length", "cancelled"}
    statistics = scheduler.statistics()
    assert (statistics.live, statistics.joining, statistics.queued) == (0, 0, 0)


def test_stopping_before_the_start_ends_everything():
    """Whoever waits is told, although no thread ever ran; starting it then is over at once."""
    scheduler = make_engine()
    caller = Caller(scheduler, PROMPTS[0], 5)
    scheduler.stop()
    caller.assert_as_alone("cancelled")
    with pytest.raises(RuntimeError, match="stopped"):
        Caller(scheduler, PROMPTS[0], 5)
    scheduler.start()
    scheduler.stop()
    assert len(caller.finishes) == 1


def test_a_callback_may_stop_the_engine():
    """It cannot wait for its own thread to end; the thread ends after the step, and all are told that they are cancelled."""
    scheduler = make_engine(slots=1)
    callers = [Caller(scheduler, PROMPTS[n], 5, when=lambda tokens: scheduler.stop()) for n in range(2)]
    scheduler.start()
    for caller in callers:
        assert caller.ended.wait(30)
        caller.assert_as_alone("cancelled")
    scheduler.stop()


def test_an_engine_that_fails_tells_everyone_once(caplog):
    """Where a step breaks off, as at SystemExit, each request has one end, the log the error, and nobody new is taken."""

    def leave(tokens):
        raise SystemExit("broken off")

    scheduler = make_engine(slots=2)
    callers = [
        Caller(scheduler, PROMPTS[2], 1),
        Caller(scheduler, PROMPTS[2], 5, when=leave),
        Caller(scheduler, PROMPTS[0], 5),
    ]
    scheduler.start()
    for caller in callers:
        assert caller.ended.wait(30)
    scheduler.stop()
    assert [caller.reason for caller in callers] == ["length", "error", "error"]
    assert str(callers[2].finishes[0].error) == "broken off"
    assert "SystemExit: broken off" in caplog.text
    with pytest.raises(RuntimeError, match="stopped"):
        Caller(scheduler, PROMPTS[0], 1)


def test_a_callback_may_submit_and_cancel():
    """Callbacks run in the engine's thread and may call it: a conversation goes on from its end."""
    submitted, second = threading.Event(), []
    with make_engine(slots=1, max_queue=0) as scheduler:

        def cancel(tokens):
            assert submitted.wait(30)
            scheduler.cancel(first.request)

        first = Caller(scheduler, PROMPTS[0], 40, when=cancel)
        first.on_end = lambda: second.append(Caller(scheduler, PROMPTS[1], 4))
        submitted.set()
        assert first.ended.wait(30)
        assert second[0].ended.wait(30)
    first.assert_as_alone("cancelled")
    second[0].assert_as_alone()


def test_a_refusal_says_when_to_try_again():
    """In the last words of its message, before anything was measured and afterwards."""
    scheduler = make_engine(slots=1, max_queue=0)
    caller = Caller(scheduler, PROMPTS[0], 20)
    for _ in range(3):
        with pytest.raises(QueueFull, match=r"; retry after \d+\.\d s$"):
            Caller(scheduler, PROMPTS[1], 3)
        scheduler.step()
    finish_all(scheduler)
    caller.assert_as_alone()


def test_what_has_no_slot_in_time_is_refused_at_once():
    """Where its deadline is known, and the pace was measured: it would be generated for nobody."""
    scheduler = make_engine(slots=1, max_queue=100)
    callers = [Caller(scheduler, PROMPTS[0], 40) for _ in range(20)]
    scheduler.require_room(within=1e-6)
    scheduler.step()
    with pytest.raises(
        QueueFull, match="20 requests are running or waiting, more than end within the 1e-06 s of this one"
    ):
        scheduler.submit(PROMPTS[1], Greedy(), 3, (), lambda token: True, lambda finish: None, within=1e-6)
    scheduler.require_room(within=1000.0)
    finish_all(scheduler)
    scheduler.require_room(within=1e-6)
    for caller in callers:
        caller.assert_as_alone()


def test_a_cancelled_request_makes_room_within_a_step():
    """Also one that waits: nothing is generated for it, and another has its place in the queue."""
    scheduler = make_engine(slots=1, max_queue=1)
    first, second = (Caller(scheduler, PROMPTS[0], 20) for _ in range(2))
    scheduler.step()
    with pytest.raises(QueueFull):
        Caller(scheduler, PROMPTS[1], 3)
    scheduler.cancel(second.request)
    scheduler.step()
    assert second.reason == "cancelled"
    third = Caller(scheduler, PROMPTS[1], 3)
    finish_all(scheduler)
    first.assert_as_alone()
    third.assert_as_alone()
    assert second.tokens == []
