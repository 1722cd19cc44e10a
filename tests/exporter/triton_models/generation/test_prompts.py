"""Long prompts are read in pieces; what is used of them, and what is refused, is as if they had been read whole."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from hf2triton.parity import local_runner as in_process
from hf2triton.triton_models import long_texts, pieces
from hf2triton.triton_models.generation import request_state as request_state
from hf2triton.triton_models.generation.request_state import TokenizedPrompt, read_prompt
from hf2triton.triton_models.generation.settings import Settings

from ..tokenizing import hard_texts, tokenizer_of

#: The tokens that a tokenizer puts around a prompt.
AROUND = {"nothing": "$A", "a beginning": "a $A", "a beginning and an end": "a $A b", "two ends": "$A a b"}
CONTEXT = 24
KINDS = ["GPT-2", "byte level after NFC", "XLM-R of today", "Llama 3", "lstrip"]
settings = st.builds(
    Settings,
    max_new_tokens=st.sampled_from([None, 1, 5, CONTEXT - 1, CONTEXT]),
    max_length=st.sampled_from([None, 8, 100]),
    truncate_prompt=st.booleans(),
    prompt_logprobs=st.booleans(),
)


def as_whole(text, tokenizer, settings, context, bos_token_id):
    """A prompt, from all of its tokens."""
    ids = tokenizer.encode(text).ids or ([] if bos_token_id is None else [bos_token_id])
    if settings.prompt_logprobs:
        used = settings.scored(len(ids), context)
        return TokenizedPrompt(text, ids[:used], used - 1)
    lengths = settings.lengths(len(ids), context)
    return TokenizedPrompt(text, ids[len(ids) - lengths.prompt :], lengths.new_tokens)


def outcome(function, *arguments):
    """A prompt, or why there is none."""
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


def tokenizer_with(kind, around):
    made = Tokenizer.from_str(tokenizer_of(kind))
    tokens = [("a", made.token_to_id("a")), ("b", made.token_to_id("b"))]
    made.post_processor = processors.TemplateProcessing(single=AROUND[around], special_tokens=tokens)
    return made


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_those_of_the_whole_text(kind, around):
    """Whatever is asked for, and whatever stands around them; the tokenizer is as before afterwards."""
    tokenizer = tokenizer_with(kind, around)
    before = tokenizer.to_str()

    @hypothesis_settings(max_examples=25)
    @given(hard_texts, settings, st.sampled_from([1, 2, 12]), st.sampled_from([None, 3]))
    def check(text, settings, piece, bos_token_id):
        expected = outcome(as_whole, text, tokenizer, settings, CONTEXT, bos_token_id)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(request_state, "PIECE", 0)
            patch.setattr(pieces, "PIECE", piece)
            patch.setattr(long_texts, "_AT_ONCE", 8 * piece)
            assert outcome(read_prompt, text, tokenizer, settings, CONTEXT, bos_token_id) == expected
        assert outcome(read_prompt, text, tokenizer, settings, CONTEXT, bos_token_id) == expected

    check()
    assert tokenizer.to_str() == before


@pytest.mark.parametrize("kind", ["GPT-2", "XLM-R of today"])
@pytest.mark.parametrize("asked", [{"truncate_prompt": True}, {"truncate_prompt": True, "prompt_logprobs": True}, {}])
def test_long_prompts_are_read_as_they_are_in_earnest(kind, asked):
    """Those of many pieces, with the lengths that frontends use."""
    tokenizer = tokenizer_with(kind, "a beginning")
    for unit in ("Hello, it's 2024!! 東京 😀 said: don't.\n\n", "word ", "a", "!", "1a", " "):
        text = unit * -(-40_000 // len(unit))
        arguments = text, tokenizer, Settings(max_new_tokens=100, **asked), 1024, None
        assert outcome(read_prompt, *arguments) == outcome(as_whole, *arguments)


def test_several_threads_read_prompts_one_after_the_other(assorted, monkeypatch):
    """Reading a long one takes what a tokenizer does at the end off it for a while, which no other thread may see."""
    within, most = [], []

    def watched(*arguments):
        within.append(None)
        most.append(len(within))
        time.sleep(0.02)  # a second one would begin now
        try:
            return read_prompt(*arguments)
        finally:
            within.pop()

    monkeypatch.setattr(in_process, "read_prompt", watched)
    texts = in_process.ConcurrentLocalTexts(assorted / "verses" / "1", 2, max_queue=8)
    asked = {"text_input": "the sun " * 3000, "sampling_parameters": '{"truncate_prompt": true, "max_new_tokens": 2}'}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(texts, [asked] * 8))
    assert len({answer.texts[0] for answer in answers}) == 1
    assert most == [1] * 8
