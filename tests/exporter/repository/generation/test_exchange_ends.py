"""However a request ends, refused, failed or cancelled, that is said once, and of all its sequences."""

import pytest

from hf2triton.triton_models.generation.scheduler import QueueFull

from .callers import Broken, Caller, Watched, finish_all, make_engine
from .listeners import SAMPLED, FailingTokenizer, greedy_text, make_exchange
from .tiny_decoder import PROMPTS


@pytest.mark.parametrize("room", [0, 1, 2])
def test_all_sequences_are_queued_or_none(room):
    """Where the queue has no place for all of them, none gets anything, and those who were there are not disturbed."""
    engine, told = make_engine(slots=1, max_queue=room), []
    first = Caller(engine, PROMPTS[0], 6)
    exchange = make_exchange(PROMPTS[1], 4, num_return_sequences=3, changed=told.append, **SAMPLED)
    with pytest.raises(QueueFull, match="as many as may"):
        exchange.submit(engine)
    engine.step()
    statistics = engine.statistics()
    assert (statistics.live + statistics.joining, statistics.queued) == (1, 0)
    finish_all(engine)
    assert exchange.take() is None
    assert engine.statistics().tokens == 6
    first.assert_as_alone()


@pytest.mark.parametrize("run", [1, 2, 3])
def test_a_sequence_that_fails_fails_its_siblings(run):
    """One error, although all others could have gone on; they leave their slots before the next step."""
    watched = Watched(fails={2 * run - 1})  # in each step a prompt is filled in, then all advance
    engine = make_engine(slots=4, chunk=100, runs=watched)
    other = Caller(engine, PROMPTS[2], 20)
    told = []
    exchange = make_exchange(PROMPTS[1], 40, num_return_sequences=3, changed=told.append, **SAMPLED)
    exchange.submit(engine)
    told.clear()
    while not told:
        assert engine.step()
    with pytest.raises(Broken, match=f"run {2 * run - 1}"):
        exchange.take()
    assert exchange.take() is None
    exchange.cancel(engine)
    engine.step()
    assert engine.statistics().live + engine.statistics().joining + engine.statistics().queued == 1
    finish_all(engine)
    assert exchange.take() is None
    other.assert_as_alone()


def test_a_step_that_fails_is_one_error():
    """All sequences fail at once, and the request once."""
    engine = make_engine(slots=3, runs=Watched(fails=range(4, 9)))  # the step, and each of its repetitions
    exchange = make_exchange([1], 10, num_return_sequences=3, **SAMPLED)
    exchange.submit(engine)
    finish_all(engine)
    with pytest.raises(Broken, match="run"):
        exchange.take()
    assert exchange.take() is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("times", [0, 1, 7])
def test_text_that_cannot_be_made_is_an_error(stream, times):
    """Where the tokenizer fails, also with the rest of the text, the request does; nobody waits for ever."""
    engine = make_engine()
    exchange = make_exchange(PROMPTS[0], 10, stream=stream, decodes=FailingTokenizer(times))
    exchange.submit(engine)
    finish_all(engine)
    with pytest.raises(Broken, match="no text"):
        exchange.take()
    assert exchange.take() is None


def test_the_rest_of_a_text_that_cannot_be_made_is_an_error():
    """Whichever decoding fails, the last one included, of which the engine would only log that it did."""
    engine = make_engine()
    whole = FailingTokenizer(1000)
    exchange = make_exchange([3], 4, decodes=whole)
    exchange.submit(engine)
    finish_all(engine)
    assert exchange.take().texts == [greedy_text([3], 4)]
    assert 1000 - whole.left > 4
    for times in range(1000 - whole.left):
        exchange = make_exchange([3], 4, decodes=FailingTokenizer(times))
        exchange.submit(engine)
        finish_all(engine)
        with pytest.raises(Broken, match="no text"):
            exchange.take()
        assert exchange.take() is None


def test_what_ends_the_engine_is_an_error_like_others():
    """An engine that a SystemExit has ended must not end the thread that sends."""
    engine = make_engine()

    def leave(logits):
        raise SystemExit("broken off")

    exchange = make_exchange(PROMPTS[0], 10)
    Caller(engine, PROMPTS[2], 5, sampler=type("Leaving", (), {"next": staticmethod(leave)}))
    exchange.submit(engine)
    engine.start()
    engine.stop()
    with pytest.raises(RuntimeError, match="broken off") as raised:
        exchange.take()
    assert isinstance(raised.value.__cause__, SystemExit)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4, 9])
def test_a_cancelled_request_ends_with_the_next_step(steps, stream):
    """Before its first token, or in the middle: the last answer says so, for all sequences."""
    engine = make_engine(slots=2)
    sequences = 1 if stream else 3
    exchange = make_exchange(PROMPTS[1], 20, stream=stream, num_return_sequences=sequences, **SAMPLED)
    exchange.submit(engine)
    for _ in range(steps):
        engine.step()
    exchange.cancel(engine)
    assert not engine.step()
    answer = exchange.take()
    assert answer.last
    assert answer.reasons == ["cancelled"] * sequences
    exchange.cancel(engine)
    assert exchange.take() is None


class Hasty:
    """An engine that has ended each sequence before the next is submitted, and lets somebody look in between."""

    def __init__(self, look, **options):
        self.engine, self.look = make_engine(slots=1, max_queue=0, **options), look

    def submit(self, *arguments):
        request = self.engine.submit(*arguments)
        finish_all(self.engine)
        self.look()
        return request

    def cancel(self, request):
        self.engine.cancel(request)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_taken_before_all_sequences_are_queued(fails):
    """An answer, or an error, while `submit` may still raise would tell the caller two things; it comes right after."""
    changed, early = [], []
    exchange = make_exchange([1], 3, num_return_sequences=3, changed=changed.append, **SAMPLED)
    exchange.submit(Hasty(lambda: early.append(exchange.take()), runs=Watched(fails={fails})))
    assert early == [None] * 3
    assert changed == [exchange] * 4
    if fails:
        with pytest.raises(Broken):
            exchange.take()
    else:
        assert exchange.take().last
    assert exchange.take() is None
