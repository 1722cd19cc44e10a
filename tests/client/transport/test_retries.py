"""Which errors of a request are followed by another try, and when."""

import pytest

from hf2triton_client import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    ModelNotFound,
    ServerBusy,
    ServerError,
    ServerStopping,
)
from hf2triton_client.errors import from_rpc
from hf2triton_client.transport import retries as module
from hf2triton_client.transport.connection import Target
from hf2triton_client.transport.retries import Tries


class Clock:
    """`time.monotonic`, moved by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module.time, "monotonic", made)
    return made


def pauses(tries: Tries, error, known, clock, most=1000) -> list[float]:
    """The pauses before each further try, until the error is raised."""
    found = []
    while len(found) < most:
        try:
            found.append(tries.pause(error, known))
        except type(error) as raised:
            return found if raised is error else pytest.fail(f"{raised} in place of {error}")
        clock.now += found[-1]
    return pytest.fail("it is tried for ever")


@pytest.mark.parametrize("error", [InputError("x"), ServerError("x"), DeadlineExceeded("x")])
def test_what_would_end_the_same_is_raised_at_once(clock, error):
    """An input that is refused, and a model that failed, are not asked again."""
    assert pauses(Tries(Target()), error, True, clock) == []


@pytest.mark.parametrize("error", [ServerBusy("x"), ConnectionFailed("x")])
def test_not_now_is_tried_again_as_often_as_asked_for(clock, error):
    """With growing pauses."""
    found = pauses(Tries(Target(retries=3)), error, True, clock)
    assert len(found) == 3
    assert found[0] < found[1] < found[2]


def test_the_servers_hint_is_waited_for(clock):
    """A pause is not shorter than what the server asks for at the end of its message."""
    error = from_rpc("StatusCode.UNAVAILABLE", "input 0: 900 requests wait; retry after 1.5 s", "here")
    assert isinstance(error, ServerBusy)
    assert error.retry_after == 1.5
    assert 1.5 <= Tries(Target()).pause(error, True) <= 1.5 * 1.25


def test_a_hint_beyond_the_deadline_ends_the_request(clock):
    """Nobody waits for what cannot be answered in time."""
    error = ServerBusy("x", retry_after=30.0)
    assert pauses(Tries(Target(timeout=20.0)), error, True, clock) == []


def test_only_a_server_that_is_full_gives_a_hint(clock):
    """The same words in an error of another kind are words."""
    refused = from_rpc("StatusCode.INVALID_ARGUMENT", "the text is no JSON; retry after 9 s", "here")
    assert getattr(refused, "retry_after", None) is None


@pytest.mark.parametrize("error", [ModelNotFound("x"), ServerStopping("x")])
def test_a_model_that_was_there_is_looked_for(clock, error):
    """For some seconds, at once the first time: a server that stops has others beside it, or is back soon."""
    found = pauses(Tries(Target()), error, True, clock)
    assert found[0] == 0.0
    assert sum(found) == pytest.approx(module.SEEKING, rel=0.1)


def test_a_model_that_was_never_there_is_reported_soon(clock):
    """A name that was mistyped."""
    assert sum(pauses(Tries(Target()), ModelNotFound("x"), False, clock)) < 0.5


def test_whoever_opens_a_pipeline_looks_for_a_model_that_the_server_has_had(clock):
    """A server that is being stopped says so of its models, and not of names that it never heard: another one may have them."""
    gone, never = (
        from_rpc("StatusCode.NOT_FOUND", f"Request for unknown model: 'sentiment' {says}", "here")
        for says in ("has no available versions", "is not found")
    )
    assert sum(pauses(Tries(Target(), opening=True), gone, False, clock)) == pytest.approx(module.SEEKING, rel=0.1)
    assert sum(pauses(Tries(Target(), opening=True), never, False, clock)) < 0.5
    assert sum(pauses(Tries(Target()), gone, False, clock)) < 0.5


@pytest.mark.parametrize("error", [ModelNotFound("x"), ServerBusy("x"), ConnectionFailed("x"), ServerStopping("x")])
def test_without_retries_each_request_is_sent_once(clock, error):
    """`retries=0`."""
    assert pauses(Tries(Target(retries=0)), error, True, clock) == []


def test_no_try_begins_after_the_deadline(clock):
    """Nor is a call made without time left."""
    tries = Tries(Target(timeout=2.0))
    assert tries.seconds() == 2.0
    clock.now += 2.0
    with pytest.raises(DeadlineExceeded, match="within 2 s"):
        tries.seconds()


def test_a_try_that_comes_too_late_ends_with_the_error_before_it(clock):
    """The wait took longer than it should have, as on an overloaded machine: the reason for it says more than the deadline."""
    tries, busy = Tries(Target(timeout=2.0)), ServerBusy("x")
    clock.now += tries.pause(busy, True)
    assert tries.seconds() > 0
    clock.now += 2.0
    with pytest.raises(ServerBusy) as raised:
        tries.seconds()
    assert raised.value is busy
