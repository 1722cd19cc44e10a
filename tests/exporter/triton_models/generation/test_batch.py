"""Requests share the steps of a batch, and each gets the tokens that it would have got alone."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf2triton.triton_models.generation.cache import HostCache
from hf2triton.triton_models.generation.decoder import Decoder, layout_of
from hf2triton.triton_models.generation.scheduler import Scheduler

from .callers import Broken, Caller, Watched, broken, finish_all, make_engine
from .tiny_decoder import CACHES, MAX_LENGTH, PROMPTS, VOCABULARY, alone, session


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("length", [1, 2, 4, 5, 9, 30, MAX_LENGTH - 1, MAX_LENGTH])
def test_a_prompt_of_any_length_is_continued_as_by_the_oracle(length, cache):
    """Prompts of one token, of whole and broken pieces, and such that leave no room go on until the slot is full."""
    scheduler = make_engine(cache=cache)
    caller = Caller(scheduler, np.random.default_rng(length).integers(0, VOCABULARY, length), 20)
    finish_all(scheduler)
    caller.assert_as_alone()
    assert len(caller.tokens) == min(20, MAX_LENGTH - length + 1)


def test_the_text_ends_with_an_eos_token():
    """The token that ends the text is handed over, and nothing after it."""
    scheduler, want = make_engine(), alone(PROMPTS[0], 20)
    caller = Caller(scheduler, PROMPTS[0], 20, eos=[want[5], VOCABULARY - 1])
    finish_all(scheduler)
    caller.assert_as_alone("eos")
    assert want[: want.index(want[5]) + 1] == caller.tokens


def test_a_callback_can_end_the_text():
    """Where on_token returns False, the reason is "stop"; None and True go on."""
    scheduler = make_engine()
    caller = Caller(scheduler, PROMPTS[0], 20, when=lambda tokens: {3: True, 6: False}.get(tokens))
    finish_all(scheduler)
    caller.assert_as_alone("stop")
    assert len(caller.tokens) == 6


def test_the_time_to_the_first_token_is_told():
    """It runs from the submission, over the steps of the prompt, and is unknown where no token came."""
    scheduler = make_engine()
    first, second = Caller(scheduler, PROMPTS[5], 1), Caller(scheduler, PROMPTS[5], 1)
    scheduler.cancel(second.request)
    finish_all(scheduler)
    assert first.finishes[0].first_token_seconds > 0
    assert second.finishes[0].first_token_seconds is None


@pytest.mark.parametrize("cache", CACHES)
def test_more_requests_than_slots_are_all_served(cache):
    """Eight prompts of different lengths through three slots, ending at different times, each as if alone."""
    scheduler = make_engine(slots=3, cache=cache)
    callers = [Caller(scheduler, prompt, 5 + 3 * n) for n, prompt in enumerate(PROMPTS)]
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()
    assert scheduler.statistics().tokens == sum(len(caller.tokens) for caller in callers)


def test_requests_join_and_leave_between_steps():
    """Who comes later shares the steps of those who are there, and the gap that somebody leaves is closed by one move."""
    scheduler = make_engine(slots=4)
    callers = []
    for prompt, count in zip(PROMPTS[:4], (6, 15, 15, 15), strict=True):
        callers.append(Caller(scheduler, prompt, count))
        scheduler.step()
        scheduler.step()
    # the first has ended, and the last prompt is longer than two pieces
    assert (scheduler.statistics().live, scheduler.statistics().joining) == (2, 1)
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()
    statistics = scheduler.statistics()
    assert statistics.steps < sum(len(caller.tokens) for caller in callers) / 2
    assert 1 <= statistics.moved <= 4


def test_a_long_prompt_does_not_stall_those_who_generate():
    """While a prompt of 30 tokens is filled in by fours, every step gives the others a token."""
    scheduler = make_engine(chunk=4)
    caller = Caller(scheduler, PROMPTS[0], 20)
    scheduler.step()
    late = Caller(scheduler, PROMPTS[5], 5)
    for step in range(1, 8):
        assert len(caller.tokens) == step
        assert late.tokens == []
        scheduler.step()
    scheduler.step()
    assert len(late.tokens) == 1  # 29 tokens in eight pieces, the last of them before a token for all
    finish_all(scheduler)
    caller.assert_as_alone()
    late.assert_as_alone()


def test_half_precision_is_served_from_half_the_memory():
    """A graph in fp16 has a cache in fp16; in company its answers are those it gives alone."""
    half = session("float16")
    assert 2 * layout_of(half, 3, MAX_LENGTH).bytes == layout_of(session(), 3, MAX_LENGTH).bytes
    scheduler = make_engine(runs=half)
    together = [Caller(scheduler, prompt, 10) for prompt in PROMPTS]
    finish_all(scheduler)
    for caller in together:
        scheduler = make_engine(slots=1, runs=half)
        single = Caller(scheduler, caller.prompt, 10)
        finish_all(scheduler)
        assert single.tokens == caller.tokens


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_what_a_slot_held_before_does_not_matter(dtype):
    """Even NaNs, which a request whose numbers overflowed leaves behind, do not reach the next one in its slot."""
    runs = session(dtype)
    cache = HostCache(layout_of(runs, 3, MAX_LENGTH))
    for array in cache._arrays.values():
        array.fill(np.nan)
    scheduler = Scheduler(Decoder(runs, cache), max_queue=100, chunk=4)
    callers = [Caller(scheduler, prompt, 10) for prompt in PROMPTS]
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.sampled_from([1, 3, 64]),
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(1, 12), st.integers(0, 4), st.none() | st.integers(0, 15)), max_size=8
    ),
)
def test_any_schedule_gives_each_request_its_own_tokens(slots, chunk, schedule):
    """Whoever comes, leaves or is cancelled meanwhile: a request gets what it would have got alone."""
    scheduler = make_engine(slots, chunk=chunk)
    callers, cancels, now = [], [], 0
    for index, count, pause, patience in schedule:
        callers.append(Caller(scheduler, PROMPTS[index], count))
        cancels.append(None if patience is None else now + patience)
        for _ in range(pause):
            step(scheduler, callers, cancels, now)
            now += 1
    for later in range(400):
        step(scheduler, callers, cancels, now + later)
    for caller, cancelled in zip(callers, cancels, strict=True):
        caller.assert_as_alone(caller.reason)
        assert caller.reason == "length" or cancelled is not None
    statistics = scheduler.statistics()
    assert (statistics.live, statistics.joining, statistics.queued) == (0, 0, 0)


def step(scheduler, callers, cancels, now) -> None:
    for caller, when in zip(callers, cancels, strict=True):
        if when == now:
            scheduler.cancel(caller.request)
    scheduler.step()


class Wild:
    def next(self, logits):
        return VOCABULARY


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": type("Failing", (), {"next": broken})()},
        {"sampler": Wild()},
        {"when": lambda tokens: broken() if tokens == 3 else None},
    ],
    ids=["sampler", "token", "callback"],
)
def test_an_error_of_one_request_ends_that_request_alone(options):
    """Its own sampler, a token that the model has not, its callback: the others do not notice."""
    scheduler = make_engine()
    callers = [Caller(scheduler, prompt, 10) for prompt in PROMPTS[:2]]
    failing = Caller(scheduler, PROMPTS[2], 10, **options)
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()
    (finish,) = failing.finishes
    assert finish.reason == "error"
    assert isinstance(finish.error, Broken | ValueError)


def test_an_error_of_the_session_ends_those_it_ran_for():
    """A step of one request that fails ends it, a piece of a prompt its own request; whoever waits is served."""
    watched = Watched(fails={2, 4})  # the first prompt joins in run 1 and fails in 2; the second prompt fails in 4
    scheduler = make_engine(slots=2, runs=watched)
    first = Caller(scheduler, PROMPTS[0], 10)
    scheduler.step()
    second, third = Caller(scheduler, PROMPTS[1], 10), Caller(scheduler, PROMPTS[6], 10)
    finish_all(scheduler)
    assert [str(caller.finishes[0].error) for caller in (first, second)] == ["run 2", "run 4"]
    third.assert_as_alone()


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("beginning", [(), (1, 2, 3)], ids=["alone", "after-others"])
def test_a_token_without_a_row_ends_its_own_request(cache, beginning):
    """The embeddings lack the last token's row: a step fails for whoever is fed it, and those beside it notice nothing."""
    last = VOCABULARY - 1
    prompts = [prompt for prompt in PROMPTS if last not in (*prompt, *alone(prompt, 10))]
    scheduler = make_engine(slots=5, cache=cache, runs=session(rows=last))
    callers = [Caller(scheduler, prompt, 10) for prompt in prompts[:3]]
    guilty = []
    for prompt in prompts[3:]:
        scheduler.step()
        guilty.append(Caller(scheduler, (*beginning, last), 10))
        callers.append(Caller(scheduler, prompt, 10))
    finish_all(scheduler)
    assert len(guilty) >= 2
    for caller in callers:
        caller.assert_as_alone()
    for caller in guilty:
        assert caller.reason == "error"
        assert "out of data bounds" in str(caller.finishes[0].error)
        assert caller.tokens == []


def test_a_step_that_fails_once_ends_nobody():
    """Repeated for fewer it comes to its end, and the texts are the same."""
    watched = Watched(fails={9})
    scheduler = make_engine(runs=watched)
    callers = [Caller(scheduler, prompt, 10) for prompt in PROMPTS[:3]]
    finish_all(scheduler)
    assert watched.runs > 9
    for caller in callers:
        caller.assert_as_alone()


def test_a_move_that_fails_ends_the_request_that_was_moved():
    """It has lost what its slot held, so it ends with the error; the gap goes to the next."""
    runs = session()
    cache = HostCache(layout_of(runs, 3, MAX_LENGTH))
    moves = iter([broken])
    cache.move = lambda *arguments: next(moves, functools.partial(HostCache.move, cache))(*arguments)
    scheduler = Scheduler(Decoder(runs, cache), max_queue=0)
    callers = [Caller(scheduler, PROMPTS[2], count) for count in (1, 10, 10)]
    finish_all(scheduler)
    assert [caller.reason for caller in callers] == ["length", "length", "error"]
    assert isinstance(callers[2].finishes[0].error, Broken)
    callers[1].assert_as_alone()
