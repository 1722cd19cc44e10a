"""However a request ends, refused, failed or cancelled, that is said once, and of all its sequences."""

import pytest

from hf2triton.triton_models.generation.scheduler import QueueFull

from .callers import Broken, Caller, Watched, finish_all, make_engine
from .listeners import SAMPLED, FailingTokenizer, greedy_text, make_exchange
from .tiny_decoder import PROMPTS


@pytest.mark.parametrize("room", [0, 1, 2])
def test_all_sequences_are_queued_or_none(room):
    """Where the queue has no place for all of them, none gets anything, and those who were there are not disturbed."""
    scheduler, told = make_engine(slots=1, max_queue=room), []
    first = Caller(scheduler, PROMPTS[0], 6)
    request_state = make_exchange(PROMPTS[1], 4, num_return_sequences=3, changed=told.append, **SAMPLED)
    with pytest.raises(QueueFull, match="as many as may"):
        request_state.submit(scheduler)
    scheduler.step()
    statistics = scheduler.statistics()
    assert (statistics.live + statistics.joining, statistics.queued) == (1, 0)
    finish_all(scheduler)
    assert request_state.take() is None
    assert scheduler.statistics().tokens == 6
    first.assert_as_alone()


@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_sequence_that_fails_fails_its_siblings(run):
    """One error, although all others could have gone on; they leave their slots before the next step."""
    watched = Watched(fails={2 * run - 1})  # in each step a prompt is filled in, then all advance
    scheduler = make_engine(slots=4, chunk=100, runs=watched)
    other = Caller(scheduler, PROMPTS[2], 20)
    told = []
    request_state = make_exchange(PROMPTS[1], 40, num_return_sequences=3, changed=told.append, **SAMPLED)
    request_state.submit(scheduler)
    told.clear()
    while not told:
        assert scheduler.step()
    with pytest.raises(Broken, match=f"run {2 * run - 1}"):
        request_state.take()
    assert request_state.take() is None
    request_state.cancel(scheduler)
    scheduler.step()
    assert scheduler.statistics().live + scheduler.statistics().joining + scheduler.statistics().queued == 1
    finish_all(scheduler)
    assert request_state.take() is None
    other.assert_as_alone()


def test_a_step_that_fails_is_one_error():
    """All sequences fail at once, and the request once."""
    scheduler = make_engine(slots=3, runs=Watched(fails=range(4, 9)))  # the step, and each of its repetitions
    request_state = make_exchange([1], 10, num_return_sequences=3, **SAMPLED)
    request_state.submit(scheduler)
    finish_all(scheduler)
    with pytest.raises(Broken, match="run"):
        request_state.take()
    assert request_state.take() is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("times", [0, 1, 7])
def test_text_that_cannot_be_made_is_an_error(stream, times):
    """Where the tokenizer fails, also with the rest of the text, the request does; nobody waits for ever."""
    scheduler = make_engine()
    request_state = make_exchange(PROMPTS[0], 10, stream=stream, decodes=FailingTokenizer(times))
    request_state.submit(scheduler)
    finish_all(scheduler)
    with pytest.raises(Broken, match="no text"):
        request_state.take()
    assert request_state.take() is None


def test_the_rest_of_a_text_that_cannot_be_made_is_an_error():
    """Whichever decoding fails, the last one included, of which the engine would only log that it did."""
    scheduler = make_engine()
    whole = FailingTokenizer(1000)
    request_state = make_exchange([3], 4, decodes=whole)
    request_state.submit(scheduler)
    finish_all(scheduler)
    assert request_state.take().texts == [greedy_text([3], 4)]
    assert 1000 - whole.left > 4
    for times in range(1000 - whole.left):
        request_state = make_exchange([3], 4, decodes=FailingTokenizer(times))
        request_state.submit(scheduler)
        finish_all(scheduler)
        with pytest.raises(Broken, match="no text"):
            request_state.take()
        assert request_state.take() is None


def test_what_ends_the_engine_is_an_error_like_others():
    """An engine that a SystemExit has ended must not end the thread that sends."""
    scheduler = make_engine()

    def leave(logits):
        raise SystemExit("broken off")

    request_state = make_exchange(PROMPTS[0], 10)
    Caller(scheduler, PROMPTS[2], 5, sampler=type("Leaving", (), {"next": staticmethod(leave)}))
    request_state.submit(scheduler)
    scheduler.start()
    scheduler.stop()
    with pytest.raises(RuntimeError, match="broken off") as raised:
        request_state.take()
    assert isinstance(raised.value.__cause__, SystemExit)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4, 9])
def test_a_cancelled_request_ends_with_the_next_step(steps, stream):
    """Before its first token, or in the middle: the last answer says so, for all sequences."""
    scheduler = make_engine(slots=2)
    sequences = 1 if stream else 3
    request_state = make_exchange(PROMPTS[1], 20, stream=stream, num_return_sequences=sequences, **SAMPLED)
    request_state.submit(scheduler)
    for _ in range(steps):
        scheduler.step()
    request_state.cancel(scheduler)
    assert not scheduler.step()
    answer = request_state.take()
    assert answer.last
    assert answer.reasons == ["cancelled"] * sequences
    request_state.cancel(scheduler)
    assert request_state.take() is None


class Hasty:
    """An engine that has ended each sequence before the next is submitted, and lets somebody look in between."""

    def __init__(self, look, **options):
        self.scheduler, self.look = make_engine(slots=1, max_queue=0, **options), look

    def submit(self, *arguments):
        request = self.scheduler.submit(*arguments)
        finish_all(self.scheduler)
        self.look()
        return request

    def cancel(self, request):
        self.scheduler.cancel(request)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_taken_before_all_sequences_are_queued(fails):
    """An answer, or an error, while `submit` may still raise would tell the caller two things; it comes right after."""
    changed, early = [], []
    request_state = make_exchange([1], 3, num_return_sequences=3, changed=changed.append, **SAMPLED)
    request_state.submit(Hasty(lambda: early.append(request_state.take()), runs=Watched(fails={fails})))
    assert early == [None] * 3
    assert changed == [request_state] * 4
    if fails:
        with pytest.raises(Broken):
            request_state.take()
    else:
        assert request_state.take().last
    assert request_state.take() is None
