"""A request's sequences become answers: whole or in pieces, each token once, an error once."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton.triton_models.generation.request_state import RequestState, read_prompt
from hf2triton.triton_models.generation.settings import Settings

from .callers import finish_all, make_engine
from .listeners import PATIENCE, SAMPLED, greedy_text, make_exchange, text_of, tokenizer
from .tiny_decoder import MAX_LENGTH, PROMPTS, VOCABULARY, alone


def whole(request_state, scheduler=None):
    """The one answer of an exchange that does not stream."""
    scheduler = scheduler or make_engine()
    request_state.submit(scheduler)
    while scheduler.step():
        assert request_state.take() is None
    answer = request_state.take()
    assert answer.last
    assert request_state.take() is None
    return answer


def taken_at_each_step(request_state, scheduler=None):
    """All answers, each taken as soon as it is there."""
    scheduler, answers = scheduler or make_engine(), []
    request_state.submit(scheduler)
    while not (answers and answers[-1].last):
        scheduler.step()
        answers += filter(None, [request_state.take()])
    return answers


def test_the_tokenizer_is_worth_asking():
    """The oracle's texts tear characters and hold bytes that are none, so that equality with them says something."""
    texts = [greedy_text(prompt, 20) for prompt in PROMPTS]
    assert any("\ufffd" in text for text in texts)
    assert any(text_of([token]) == "\ufffd" for prompt in PROMPTS for token in alone(prompt, 20))
    assert len(set(texts)) == len(PROMPTS)


def test_a_whole_answer_comes_once():
    """Nothing can be taken before the end, everything then, and nothing after it."""
    answer = whole(make_exchange(PROMPTS[1], 12))
    assert (answer.texts, answer.reasons) == ([greedy_text(PROMPTS[1], 12)], ["length"])
    assert (answer.prompt_tokens, answer.counts) == (len(PROMPTS[1]), [12])
    assert answer.token_ids == [alone(PROMPTS[1], 12)]


def test_all_sequences_come_together():
    """Several sequences are one answer, each with its own text, tokens and reason, although they end at different times."""
    alone_answer = whole(make_exchange(PROMPTS[0], 20, **SAMPLED))
    free = whole(make_exchange(PROMPTS[0], 20, num_return_sequences=4, **SAMPLED))
    assert free.token_ids[0] == alone_answer.token_ids[0]
    assert len({tuple(tokens) for tokens in free.token_ids}) == 4
    assert free.texts == [text_of(tokens) for tokens in free.token_ids]
    eos = next(token for token in free.token_ids[2] if token not in free.token_ids[0])
    ended = whole(make_exchange(PROMPTS[0], 20, eos=[eos], num_return_sequences=4, **SAMPLED), make_engine(slots=2))
    assert ended.reasons[2] == "eos"
    assert "length" in ended.reasons
    for tokens, count, reason, all_tokens in zip(
        ended.token_ids, ended.counts, ended.reasons, free.token_ids, strict=True
    ):
        assert tokens == all_tokens[:count]
        assert (reason, count) == (("eos", all_tokens.index(eos) + 1) if eos in all_tokens else ("length", 20))


@given(
    st.integers(0, len(PROMPTS) - 1),
    st.integers(1, 30),
    st.lists(st.booleans(), min_size=70, max_size=70),
    st.booleans(),
)
def test_pieces_join_to_the_whole(index, count, takes, full):
    """However often they are taken, pieces are text by themselves and join to the whole; each token comes once."""
    prompt, scheduler = PROMPTS[index], make_engine()
    request_state = make_exchange(prompt, count, stream=True, return_full_text=full)
    request_state.submit(scheduler)
    answers = []
    for take in takes:
        more = scheduler.step()
        if take and (answer := request_state.take()):
            answers.append(answer)
        if not more:
            break
    if not (answers and answers[-1].last):
        answers.append(request_state.take())
    assert request_state.take() is None
    tokens = alone(prompt, count)
    assert "".join(answer.texts[0] for answer in answers) == full * text_of(prompt) + text_of(tokens)
    assert [token for answer in answers for token in answer.token_ids[0]] == tokens
    sent = 0
    for answer in answers:
        assert answer.texts[0].encode().decode() == answer.texts[0]
        sent += len(answer.token_ids[0])
        assert (answer.counts, answer.prompt_tokens) == ([sent], len(prompt))
        assert answer.last == (answer is answers[-1])
        assert answer.texts[0] or answer.last
    assert [answer.reasons for answer in answers] == [[""]] * (len(answers) - 1) + [["length"]]


def test_pieces_that_nobody_took_are_joined():
    """Who comes late gets all there is, at once."""
    scheduler, request_state = make_engine(), make_exchange(PROMPTS[2], 12, stream=True)
    request_state.submit(scheduler)
    for _ in range(7):
        scheduler.step()
    answer = request_state.take()
    assert answer.counts == [7]
    assert answer.token_ids == [alone(PROMPTS[2], 7)]
    assert answer.texts[0].rstrip("\ufffd") == greedy_text(PROMPTS[2], 7).rstrip("\ufffd")
    assert request_state.take() is None
    finish_all(scheduler)
    assert answer.texts[0] + request_state.take().texts[0] == greedy_text(PROMPTS[2], 12)


def test_who_waits_is_told_when_there_is_something():
    """After each piece of a stream and at the end; of a whole answer only at the end."""
    for stream in (False, True):
        told, scheduler = [], make_engine()
        request_state = make_exchange(PROMPTS[2], 12, stream=stream, changed=told.append)
        request_state.submit(scheduler)
        told.clear()
        answers = []
        while not (answers and answers[-1].last):
            scheduler.step()
            if told:
                told.remove(request_state)
                answers.append(request_state.take())
            else:
                assert request_state.take() is None
        assert answers[-1].counts == [12]
        assert (len(answers) > 5) == stream


def stop_and_rest(prompt, count):
    """A piece of the oracle's text that begins and ends within tokens, and what comes before it."""
    text = greedy_text(prompt, count)
    start = len(text) // 2
    stop = text[start : start + 3]
    assert "\ufffd" not in stop
    return stop, text[: text.index(stop)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_a_text_ends_at_a_stop_string(stream, keep):
    """The text is cut before the stop string, or kept to the end of its token; no token comes after it."""
    prompt = PROMPTS[0]
    stop, before = stop_and_rest(prompt, 30)
    answers = taken_at_each_step(make_exchange(prompt, 30, stream=stream, stop=(stop,), keep_stop=keep))
    tokens = alone(prompt, 30)
    used = next(count for count in range(1, 31) if stop in text_of(tokens[:count]))
    text = "".join(answer.texts[0] for answer in answers)
    assert text == (text_of(tokens[:used]) if keep else before)
    assert (answers[-1].reasons, answers[-1].counts) == (["stop"], [used])
    assert used < 30
    assert [token for answer in answers for token in answer.token_ids[0]] == tokens[:used]


def test_the_end_of_text_ends_a_sequence_unless_it_is_ignored():
    """The token counts and is given, spelled it is not; with ignore_eos the text goes on."""
    tokens = alone(PROMPTS[3], 20)
    eos = tokens[6]
    end = tokens.index(eos) + 1
    answer = whole(make_exchange(PROMPTS[3], 20, eos=[VOCABULARY - 1, eos]))
    assert (answer.reasons, answer.counts, answer.token_ids) == (["eos"], [end], [tokens[:end]])
    answer = whole(make_exchange(PROMPTS[3], 20, eos=[eos], ignore_eos=True))
    assert (answer.reasons, answer.token_ids) == (["length"], [tokens])


def test_special_tokens_are_no_text():
    """A model that gives nothing but the end of text gives an empty text, and its tokens."""
    special = tokenizer().token_to_id("<|endoftext|>")
    request_state = make_exchange(PROMPTS[0], 3, stream=True)
    for _ in range(3):
        request_state._add(0, special)
    assert request_state._parts[0].token_ids == [special] * 3
    assert request_state._parts[0].text == ""


@pytest.mark.parametrize("stream", [False, True])
def test_the_full_text_begins_with_the_prompt_as_it_was_sent(stream):
    """Whole, also where its tokens lost their beginning."""
    settings = Settings(return_full_text=True, truncate_prompt=True, max_new_tokens=40)
    text = "the quick brown fox jumps over the lazy dog, and the dog sleeps"
    prompt = read_prompt(text, tokenizer(), settings, MAX_LENGTH, None)
    assert len(prompt.ids) == MAX_LENGTH - 40 < len(tokenizer().encode(text).ids)
    answers = taken_at_each_step(RequestState(prompt, settings, tokenizer(), (), stream, lambda request_state: None))
    assert "".join(answer.texts[0] for answer in answers) == text + greedy_text(prompt.ids, 40)
    assert answers[-1].prompt_tokens == 8


def test_an_empty_prompt_begins_with_the_beginning_of_text():
    """As in transformers; where there is no such token it is refused."""
    prompt = read_prompt("", tokenizer(), Settings(), MAX_LENGTH, 7)
    assert (prompt.text, list(prompt.ids)) == ("", [7])
    with pytest.raises(ValueError, match="no tokens"):
        read_prompt("", tokenizer(), Settings(), MAX_LENGTH, None)


def test_a_stream_does_not_begin_with_the_prompt_alone():
    """The first answer has the first token, also where the prompt is a part of the text."""
    scheduler, request_state = make_engine(), make_exchange(PROMPTS[2], 5, stream=True, return_full_text=True)
    request_state.submit(scheduler)
    assert request_state.take() is None
    scheduler.step()
    assert request_state.take().counts == [1]


def test_first_tokens_are_timed():
    """For each sequence that got one, and for no other."""
    scheduler = make_engine(slots=2)
    request_state = make_exchange(PROMPTS[2], 5, num_return_sequences=3, **SAMPLED)
    request_state.submit(scheduler)
    scheduler.step()
    scheduler.step()
    request_state.cancel(scheduler)
    scheduler.step()
    assert len(request_state.first_token_seconds) == 2
    assert all(0 < seconds < PATIENCE for seconds in request_state.first_token_seconds)


def test_taking_while_the_engine_runs_loses_nothing():
    """Taken from one thread while another one generates, without any pause: every token once and in order."""
    for prompt in PROMPTS:
        request_state = make_exchange(prompt, 18, stream=True)
        answers, ended = [], threading.Event()

        def take(request_state=request_state, answers=answers, ended=ended):
            while not (answers and answers[-1].last):
                answers += filter(None, [request_state.take()])
            ended.set()

        thread = threading.Thread(target=take)
        thread.start()
        with make_engine() as scheduler:
            request_state.submit(scheduler)
            assert ended.wait(PATIENCE)
        thread.join()
        assert [token for answer in answers for token in answer.token_ids[0]] == alone(prompt, 18)
        assert "".join(answer.texts[0] for answer in answers) == greedy_text(prompt, 18)
