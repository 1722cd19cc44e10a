"""Whatever fails, a graph, a text, a sender or the engine, those whom it concerns are told once, and nobody else notices."""

import threading

import pytest

from .callers import Broken, Watched, broken, make_engine
from .listeners import PATIENCE, SAMPLED, FailingTokenizer, Held, Listener, Service, greedy_text, service, wait_until
from .tiny_decoder import PROMPTS


@pytest.mark.parametrize("sequences", [1, 3])
def test_a_failing_graph_is_one_error(sequences):
    """The request is told what was raised, once; its other sequences end, and other requests go on."""
    failing, other = Listener(), Listener()
    with service(slots=4, chunk=100, runs=Watched(fails={1})) as running:  # the first prompt that is filled in
        running.ask(failing, PROMPTS[1], 38, num_return_sequences=sequences, **SAMPLED)
        failing.ended.wait(PATIENCE)
        assert isinstance(failing.ending, Broken)
        running.ask(other, PROMPTS[3], 10)
        other.assert_whole(PROMPTS[3], 10)
        assert running.scheduler.statistics().tokens < 10 + 2 * 38
    assert failing.answers == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("times", [0, 3, 9])
def test_a_text_that_cannot_be_made_is_one_error(stream, times):
    """The caller is told, and does not wait for ever."""
    failing, other = Listener(), Listener()
    with service() as running:
        running.ask(failing, PROMPTS[0], 10, stream=stream, decodes=FailingTokenizer(times))
        running.ask(other, PROMPTS[2], 10)
        assert failing.ended.wait(PATIENCE)
        other.assert_whole(PROMPTS[2], 10)
    assert isinstance(failing.ending, Broken)


@pytest.mark.parametrize("stream", [False, True])
def test_a_sender_that_fails_is_told_so_and_its_request_ends(stream):
    """Also where it is the last answer that cannot be sent. Nobody else notices, and its tokens are counted once."""
    failing, other = Listener(sending=broken), Listener()
    with service() as running:
        running.ask(failing, PROMPTS[0], 10, stream=stream)
        running.ask(other, PROMPTS[2], 10, stream=True)
        assert failing.ended.wait(PATIENCE)
        assert isinstance(failing.ending, Broken)
        other.assert_whole(PROMPTS[2], 10)
    assert failing.answers == []
    assert len(running.seconds) <= 2


def test_what_is_refused_is_told_from_the_outboxs_thread():
    """Once, also to the next after one who can be told nothing, and even where the outbox is stopped right away."""
    threads, error = [], ValueError("no such setting")

    class Told(Listener):
        def fail(self, error):
            threads.append(threading.current_thread().name)
            super().fail(error)

    refused, dead = Told(), Listener()
    dead.fail = broken
    with service() as running:
        running.sender.refuse(dead, error)
        running.sender.refuse(refused, error)
    assert refused.ending is error
    assert threads == ["outbox"]


@pytest.mark.parametrize("method", ["send", "fail", "gone", "close"])
def test_a_sender_that_can_be_told_nothing_disturbs_nobody(method, caplog):
    """Whatever it raises, even when it is told that it failed, others have their answers."""

    def fails(*_):
        raise Broken("closed by Triton")

    dead, other, running = Listener(), Listener(), Service(make_engine())
    setattr(dead, method, fails)
    if method != "gone":
        dead.fail = fails
    if method == "close":
        dead.left.set()
    running.sender.start()
    decodes = FailingTokenizer(9 if method == "fail" else 10**6)
    request_state = running.ask(dead, PROMPTS[0], 30, stream=True, decodes=decodes)
    if method in ("gone", "close"):
        wait_until(lambda: all(request.cancelled for request in request_state._requests))
    running.scheduler.start()
    wait_until(lambda: not running.sender._callers)
    running.ask(other, PROMPTS[2], 10, stream=True)
    other.assert_whole(PROMPTS[2], 10)
    assert running.sender._thread.is_alive()
    running.stop()
    assert "closed by Triton" in caplog.text
    assert method != "gone" or dead.ending == "closed"  # who does not say whether it is there counts as gone


def test_statistics_that_fail_disturb_nobody(caplog):
    """Callers have their answers, and are told of no error that is none of theirs."""
    running, listener = Service(make_engine()), Listener()
    running.sender._tick = broken
    running.scheduler.start()
    running.sender.start()
    running.ask(listener, PROMPTS[0], 10, stream=True)
    listener.assert_whole(PROMPTS[0], 10)
    running.stop()
    assert "statistics" in caplog.text


def test_stopping_is_an_error_for_who_is_there_and_an_end_for_who_is_gone():
    """Generating, joining or waiting: a text that breaks off without a reason would pass for a whole one."""
    listeners, runs = [Listener() for _ in range(6)], Held(before=13)
    with service(slots=2, runs=runs) as running:
        for index, listener in enumerate(listeners):
            running.ask(listener, PROMPTS[2 * (index % 2)], 40, stream=index < 3)
        assert runs.gate.reached.wait(PATIENCE)
        for listener in listeners[::2]:
            listener.left.set()
        stopping = threading.Thread(target=running.scheduler.stop)
        stopping.start()
        runs.gate.opened.set()
        stopping.join()
        for listener in listeners[::2]:
            listener.assert_ended_as("closed")
        for listener in listeners[1::2]:
            assert listener.ended.wait(PATIENCE)
            assert isinstance(listener.ending, RuntimeError)
            assert "stopped before the text was complete" in str(listener.ending)
        with pytest.raises(RuntimeError, match="stopped"):
            running.ask(Listener(), PROMPTS[0])
    assert listeners[1].text == greedy_text(PROMPTS[2], 40)[: len(listeners[1].text)]


def test_an_engine_that_fails_tells_everyone():
    """Also where it was no ordinary error that ended it: the thread that sends goes on."""
    listeners = [Listener() for _ in range(5)]
    running = Service(make_engine(slots=2))

    def leave(*_):
        raise SystemExit("broken off")

    request_states = [running.ask(listener, [index], 10) for index, listener in enumerate(listeners)]
    request_states[1]._texts[0].push = leave
    running.sender.start()
    running.scheduler.start()
    for listener in listeners:
        assert listener.ended.wait(PATIENCE)
        assert "SystemExit: broken off" in str(listener.ending)
    running.stop()
