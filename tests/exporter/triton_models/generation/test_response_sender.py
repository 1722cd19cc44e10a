"""Every caller gets its answers and one end, whatever the others do; the engine waits for nobody."""

import itertools
import time

import pytest

from hf2triton.triton_models.generation import response_sender as module
from hf2triton.triton_models.generation.scheduler import QueueFull

from .callers import Watched, make_engine
from .listeners import PATIENCE, SAMPLED, Gate, Held, Listener, Service, greedy_text, service, wait_until
from .tiny_decoder import MAX_LENGTH, PROMPTS


@pytest.mark.parametrize("stream", [False, True])
def test_everyone_is_answered(stream):
    """More requests than slots, each to its end."""
    with service() as running:
        listeners = {prompt: Listener() for prompt in PROMPTS}
        for prompt, listener in listeners.items():
            running.ask(listener, prompt, 12, stream=stream)
        for prompt, listener in listeners.items():
            listener.assert_whole(prompt, 12)
            assert stream or len(listener.answers) == 1


def test_pieces_come_while_the_text_goes_on():
    """What is certain after six tokens is sent before there is a seventh."""
    listener, runs = Listener(), Held(before=7)
    with service(runs=runs) as running:
        running.ask(listener, PROMPTS[2], 12, stream=True)
        assert runs.gate.reached.wait(PATIENCE)
        certain = greedy_text(PROMPTS[2], 6).rstrip("\ufffd")
        wait_until(lambda: listener.text == certain)
        assert certain
        assert not listener.ended.is_set()
        runs.gate.opened.set()
        listener.assert_whole(PROMPTS[2], 12)


def test_several_sequences_come_in_one_answer():
    """Through the outbox as well, in the order of their numbers."""
    with service(slots=2) as running:
        listener = Listener()
        running.ask(listener, PROMPTS[0], 6, num_return_sequences=5, **SAMPLED)
        listener.assert_ended_as("answer")
    [answer] = listener.answers
    assert answer.reasons == ["length"] * 5
    assert len({tuple(tokens) for tokens in answer.token_ids}) == 5


def test_the_engine_does_not_wait_for_a_caller_that_blocks():
    """While a caller's first piece is stuck, all texts are generated to their ends; the stuck one gets the rest at once."""
    gate = Gate()
    slow, other = Listener(sending=gate), Listener()
    with service() as running:
        running.ask(slow, PROMPTS[2], 30, stream=True)
        assert gate.reached.wait(PATIENCE)
        running.ask(other, PROMPTS[0], 30)
        wait_until(lambda: running.scheduler.statistics().tokens == 60)
        assert (slow.answers, other.answers) == ([], [])  # one thread sends to all
        gate.opened.set()
        slow.assert_whole(PROMPTS[2], 30)
        other.assert_whole(PROMPTS[0], 30)
    assert len(slow.answers) <= 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_who_goes_away_is_cancelled_and_closed(stream, tokens):
    """Before the first token or in the middle: its slot is free for who waits, nothing but the end is said to it."""
    leaver, other = Listener(), Listener()
    runs = Held(before=3 + tokens)  # a prompt of 9 in pieces of 4, then tokens
    with service(slots=1, runs=runs) as running:
        running.ask(leaver, PROMPTS[1], 40, stream=stream)
        running.ask(other, PROMPTS[2], 3)
        assert runs.gate.reached.wait(PATIENCE)
        leaver.left.set()
        wait_until(lambda: all(request.cancelled for request in running.scheduler._batch.requests))
        runs.gate.opened.set()
        leaver.assert_ended_as("closed")
        other.assert_whole(PROMPTS[2], 3)
        assert running.scheduler.statistics().tokens == tokens + 3
    assert len(leaver.answers) <= tokens * stream


def test_who_goes_away_while_waiting_never_gets_a_slot():
    """Its sequences leave the queue, so that others find room there."""
    first, waiting, third = Listener(), Listener(), Listener()
    runs = Held(before=3)
    with service(slots=1, max_queue=2, runs=runs) as running:
        running.ask(first, PROMPTS[2], 20)
        assert runs.gate.reached.wait(PATIENCE)
        running.ask(waiting, PROMPTS[0], 20, num_return_sequences=2, **SAMPLED)
        with pytest.raises(QueueFull):
            running.ask(third, PROMPTS[0], 5)
        waiting.left.set()
        wait_until(lambda: sum(request.cancelled for request in running.scheduler._queue) == 2)
        runs.gate.opened.set()
        waiting.assert_ended_as("closed")
        running.ask(third, PROMPTS[0], 5)
        third.assert_whole(PROMPTS[0], 5)
        first.assert_whole(PROMPTS[2], 20)
        assert running.scheduler.statistics().tokens == 25
    assert len(third.endings) == 1


def test_who_comes_is_watched_at_once(monkeypatch):
    """An outbox that had nobody to watch does not sleep on when somebody comes, and goes before there is a token."""
    monkeypatch.setattr(module, "IDLE", 3600)
    running, leaver = Service(make_engine()), Listener()
    running.sender.start()
    time.sleep(0.05)  # it sleeps by now
    request_state = running.ask(leaver, PROMPTS[0])  # the scheduler has not been started: nothing comes
    leaver.left.set()
    wait_until(lambda: all(request.cancelled for request in request_state._requests))
    running.stop()
    leaver.assert_ended_as("closed")


def test_looking_takes_a_small_part_of_the_time():
    """Where asking who has gone takes long, as for hundreds of callers, it is asked more seldom."""
    looks = []

    class Slow(Listener):
        def gone(self):
            began = time.monotonic()
            time.sleep(0.01)
            looks.append((began, time.monotonic()))
            return False

    running, listener = Service(make_engine()), Slow()
    running.sender.start()
    running.ask(listener, PROMPTS[0])  # the scheduler has not been started: there is nothing to send
    wait_until(lambda: len(looks) >= 4)
    running.stop()
    for (began, ended), (following, _) in itertools.pairwise(looks[:4]):
        assert following - ended > 5 * (ended - began)
    assert isinstance(listener.ending, RuntimeError)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_request_that_is_refused_is_told_nothing(room):
    """`submit` raises, the outbox keeps nothing of it, and whoever called it says so."""
    refused, first, runs = Listener(), Listener(), Held(before=1)
    with service(slots=1, max_queue=room, runs=runs) as running:
        running.ask(first, PROMPTS[2], 5)
        assert runs.gate.reached.wait(PATIENCE)
        with pytest.raises(QueueFull):
            running.ask(refused, PROMPTS[0], 5, num_return_sequences=3, **SAMPLED)
        with pytest.raises(ValueError, match="not one of the model's"):
            running.ask(refused, [1, 1000], 5)
        with pytest.raises(ValueError, match="1 to 48 tokens, not 49"):
            running.ask(refused, [1] * (MAX_LENGTH + 1), 5)
        assert len(running.sender._callers) == 1
        runs.gate.opened.set()
        first.assert_whole(PROMPTS[2], 5)
    assert (refused.answers, refused.endings) == ([], [])
    assert len(running.seconds) == 1


def test_a_request_that_fails_while_it_is_refused_is_told_nothing():
    """The first sequence fails before the third finds the queue full: one error, from `submit`."""
    running, listener = Service(make_engine(slots=1, max_queue=1, runs=Watched(fails={1}))), Listener()
    submit, submitted = running.scheduler.submit, []

    def hastily(*arguments):
        """The first has failed before the next is submitted, which then waits with the one after it."""
        submitted.append(submit(*arguments))
        if len(submitted) == 1:
            running.scheduler.step()
            wait_until(lambda: not running.sender._ready)
        return submitted[-1]

    running.scheduler.submit = hastily
    running.sender.start()
    with pytest.raises(QueueFull):
        running.ask(listener, [1], 3, num_return_sequences=4, **SAMPLED)
    assert submitted[0].finish.reason == "error"
    running.stop()
    assert (listener.answers, listener.endings) == ([], [])


def test_statistics_are_told_from_one_thread():
    """Each first token once, also where requests fail, are refused or go away; from no thread but the outbox's."""
    with service(slots=2, max_queue=2) as running:
        listeners = [Listener() for _ in range(4)]
        for index, listener in enumerate(listeners):
            running.ask(listener, PROMPTS[index], 6, stream=index % 2 == 0)
        for listener in listeners:
            listener.assert_ended_as("answer")
        with pytest.raises(QueueFull):
            running.ask(Listener(), PROMPTS[0], 5, num_return_sequences=8, **SAMPLED)
    assert running.tickers == {"outbox"}
    assert len(running.seconds) == 4
    assert all(0 < seconds < PATIENCE for seconds in running.seconds)
