"""Given texts are scored by the model's own logits, beside those who generate, who notice nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from hf2triton.triton_models.generation.request_state import RequestState, read_prompt
from hf2triton.triton_models.generation.scheduler import QueueFull
from hf2triton.triton_models.generation.scoring import PromptScorer
from hf2triton.triton_models.generation.settings import Settings

from .callers import Broken, Caller, Watched, finish_all, make_engine
from .listeners import Listener, service, text_of, tokenizer
from .tiny_decoder import MAX_LENGTH, PROMPTS, VOCABULARY, logits_of

#: A text of many tokens, shorter than the model takes.
TEXT = "the quick brown fox jumps over a lazy dog"
LONG = f"{TEXT}, and the {TEXT}; the {TEXT}"
#: The engine computes in float32, the oracle in float64.
RTOL = 1e-5
SCORED = Settings(prompt_logprobs=True)


def exchange_of(text, settings=SCORED, stream=False, changed=lambda request_state: None, bos=None):
    prompt = read_prompt(text, tokenizer(), settings, MAX_LENGTH, bos)
    return RequestState(prompt, settings, tokenizer(), (0,), stream, changed)


def expected_of(ids):
    """Of the decoder in numpy, in float64."""
    return log_softmax(logits_of(tuple(ids))[:-1], axis=-1)[np.arange(len(ids) - 1), ids[1:]]


def assert_scored(answer, ids):
    """The one answer holds the log probabilities, and no text."""
    assert answer.last
    assert (answer.texts, answer.token_ids, answer.counts, answer.reasons) == ([""], [[]], [0], ["length"])
    assert answer.prompt_tokens == len(ids)
    np.testing.assert_allclose(answer.logprobs, expected_of(ids), rtol=RTOL)


@given(arrays(np.float32, 20, elements=st.floats(-1e4, 1e4, width=32)), st.integers(0, 19))
def test_a_token_has_the_probability_that_its_logits_give_it(logits, token):
    """Of however large logits; they are not written to."""
    logits.flags.writeable = False
    scorer = PromptScorer([3, token, 5])
    assert scorer.next(logits) == token
    assert scorer.next(logits) == 5
    np.testing.assert_allclose(scorer.logprobs, log_softmax(logits.astype(np.float64))[[token, 5]], atol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_refused(value):
    """Wherever they are; no score comes of them."""
    scorer = PromptScorer([0, 1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        scorer.next(np.array([1.0, 2.0, value], np.float32))
    assert scorer.logprobs == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cache", ["host", "device"])
def test_a_text_gets_the_log_softmax_of_the_models_own_logits(cache, stream):
    """One for each token but the first, in a single answer, also where pieces are asked for."""
    request_state, scheduler = exchange_of(TEXT, stream=stream), make_engine(cache=cache)
    request_state.submit(scheduler)
    while scheduler.step():
        assert request_state.take() is None
    ids = tokenizer().encode(TEXT).ids
    assert len(ids) > 10
    assert_scored(request_state.take(), ids)
    assert request_state.take() is None


def test_a_text_may_fill_the_context():
    """To its last token."""
    ids = tokenizer().encode(LONG).ids[:MAX_LENGTH]
    request_state, scheduler = exchange_of(LONG, Settings(prompt_logprobs=True, truncate_prompt=True)), make_engine()
    request_state.submit(scheduler)
    finish_all(scheduler)
    answer = request_state.take()
    assert len(answer.logprobs) == MAX_LENGTH - 1
    assert_scored(answer, ids)


def test_two_tokens_are_enough():
    """The shortest text has one score; the end of text within it ends nothing."""
    ids = [0, 0, 1]
    scheduler = make_engine()
    request_state = exchange_of("<|endoftext|><|endoftext|>" + text_of([1]))
    assert list(request_state.prompt.ids) == ids
    request_state.submit(scheduler)
    finish_all(scheduler)
    assert_scored(request_state.take(), ids)
    request_state = exchange_of("<|endoftext|><|endoftext|>")
    request_state.submit(scheduler)
    finish_all(scheduler)
    assert_scored(request_state.take(), ids[:2])


def test_settings_of_generation_change_no_score():
    """Penalties, sampling, lengths and stop strings are of texts that are generated; the prompt is shown if asked for."""
    settings = Settings(
        prompt_logprobs=True,
        do_sample=True,
        temperature=9.0,
        repetition_penalty=2.0,
        no_repeat_ngram_size=1,
        max_new_tokens=1,
        stop=("the", " "),
        return_full_text=True,
    )
    request_state, scheduler = exchange_of(TEXT, settings), make_engine()
    request_state.submit(scheduler)
    finish_all(scheduler)
    answer = request_state.take()
    assert answer.texts == [TEXT]
    np.testing.assert_allclose(answer.logprobs, expected_of(tokenizer().encode(TEXT).ids), rtol=RTOL)


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_others_in_the_batch_are_not_disturbed(slots):
    """Texts that are scored and texts that are generated share steps, join and leave, and each gets what it gets alone."""
    scheduler = make_engine(slots=slots)
    texts = [TEXT, "the dog sleeps", TEXT.upper(), "a fox"]
    callers, request_states = [], []
    for text, prompt in zip(texts, PROMPTS, strict=False):
        request_states.append(exchange_of(text))
        request_states[-1].submit(scheduler)
        callers.append(Caller(scheduler, prompt, 12))
        scheduler.step()
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()
    for text, request_state in zip(texts, request_states, strict=True):
        assert_scored(request_state.take(), tokenizer().encode(text).ids)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, "needs a prompt of 2 tokens or more; this one has 0"),
        ("<|endoftext|>", {}, "needs a prompt of 2 tokens or more; this one has 1"),
        (LONG, {}, rf"the prompt has \d+ tokens and the model takes {MAX_LENGTH}: shorten it, or set truncate_prompt"),
        (LONG, {"truncate_prompt": False}, "to score its beginning"),
    ],
)
def test_what_cannot_be_scored_is_refused(text, settings, message):
    """Nothing follows a single token, and what is too long is not cut unasked."""
    with pytest.raises(ValueError, match=message):
        read_prompt(text, tokenizer(), Settings(prompt_logprobs=True, **settings), MAX_LENGTH, None)


def test_an_empty_text_begins_with_the_beginning_of_text_and_is_too_short():
    """As it has that one token."""
    with pytest.raises(ValueError, match="this one has 1"):
        read_prompt("", tokenizer(), SCORED, MAX_LENGTH, 7)


def test_several_sequences_of_one_text_are_refused():
    """They would be the same; nobody waits for those that never come."""
    with pytest.raises(ValueError, match="num_return_sequences must be 1 for prompt_logprobs"):
        Settings.parse('{"prompt_logprobs": true, "num_return_sequences": 2, "do_sample": true}')
    several = Settings(num_return_sequences=3, do_sample=True)
    with pytest.raises(ValueError, match="num_return_sequences must be 1 for prompt_logprobs"):
        Settings.parse('{"prompt_logprobs": true}', several)
    assert Settings.parse('{"prompt_logprobs": true, "num_return_sequences": 1}', several).prompt_logprobs
    assert Settings.parse('{"prompt_logprobs": false}', several).num_return_sequences == 3


def test_tokens_that_the_model_does_not_have_are_told():
    """A tokenizer can have more of them: the request alone fails, as one that cannot be served."""
    scheduler = make_engine()
    other, request_state = Caller(scheduler, PROMPTS[0], 8), exchange_of(TEXT)
    request_state._scorer._ids = [1, 2, VOCABULARY, 3]
    request_state.submit(scheduler)
    finish_all(scheduler)
    with pytest.raises(ValueError, match=f"token {VOCABULARY} of the prompt is not one of the model's {VOCABULARY}"):
        request_state.take()
    assert request_state.take() is None
    other.assert_as_alone()


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_text_can_be_cancelled(steps):
    """Before its first token, or in the middle, within one step; the slot is free again."""
    scheduler, request_state = make_engine(slots=1), exchange_of(TEXT)
    request_state.submit(scheduler)
    following = Caller(scheduler, PROMPTS[2], 3)
    for _ in range(steps):
        scheduler.step()
    request_state.cancel(scheduler)
    scheduler.step()
    answer = request_state.take()
    assert (answer.last, answer.reasons) == (True, ["cancelled"])
    assert request_state.take() is None
    finish_all(scheduler)
    following.assert_as_alone()


def test_a_step_that_fails_is_told_once():
    """As an error, with no scores."""
    scheduler, request_state = make_engine(runs=Watched(fails={4})), exchange_of(TEXT)
    request_state.submit(scheduler)
    finish_all(scheduler)
    with pytest.raises(Broken, match="run 4"):
        request_state.take()
    assert request_state.take() is None


def test_a_full_queue_refuses_texts():
    """Like others; nothing is kept of them."""
    scheduler = make_engine(slots=1, max_queue=0)
    first, request_state = Caller(scheduler, PROMPTS[0], 3), exchange_of(TEXT)
    with pytest.raises(QueueFull):
        request_state.submit(scheduler)
    finish_all(scheduler)
    assert request_state.take() is None
    first.assert_as_alone()


def test_scores_are_sent_while_others_generate():
    """Through the outbox, with the engine in its own thread: each caller gets its own, once."""
    texts = [TEXT, "the dog sleeps", TEXT.upper()] * 3
    with service() as running:
        listeners = [(text, Listener(), Listener()) for text in texts]
        for index, (text, scored, generated) in enumerate(listeners):
            running.sender.submit(exchange_of(text, changed=running.sender.put), scored)
            running.ask(generated, PROMPTS[index % 5], 10)
        for index, (text, scored, generated) in enumerate(listeners):
            scored.assert_ended_as("answer")
            (answer,) = scored.answers
            assert_scored(answer, tokenizer().encode(text).ids)
            generated.assert_whole(PROMPTS[index % 5], 10)
