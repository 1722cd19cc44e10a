"""text-generation through the client and a real server, beside transformers' own pipeline over the same checkpoint."""

import asyncio
import time
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import transformers

from hf2triton_client import DeadlineExceeded, InputError, aio, connect, pipeline

from ..conftest import entry_name
from ..support import ASSETS, assert_outputs_match, sample_of

CHECKPOINT = ASSETS / "gpt2-verses"
NAME = entry_name("gpt2", "text-generation", "fp32")
#: What the checkpoint takes, prompt and new tokens together.
CONTEXT = 256
PROMPTS = [row["prompt"] for row in sample_of(CHECKPOINT)[:8]]
PROMPT = PROMPTS[0]
#: As many tokens as fit behind a short prompt, whatever the model makes of it.
LONG = {"max_new_tokens": 240, "ignore_eos": True}


@pytest.fixture(scope="module")
def connection(server):
    with connect(server.url, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def ours(connection):
    return pipeline("text-generation", model=NAME, connection=connection)


@pytest.fixture(scope="module")
def theirs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.pipeline("text-generation", model=str(CHECKPOINT))


@pytest.mark.parametrize(
    "inputs", [PROMPT, [PROMPT], PROMPTS, "In the beginning", "", " ", "Ünïcödé 😀 東京\n", "and " * 200]
)
def test_prompts_of_any_kind_go_on_as_in_transformers(ours, theirs, inputs):
    """Strings, lists, empty prompts, other scripts and long ones: the same greedy texts in the same shape."""
    expected = theirs(inputs, do_sample=False, max_new_tokens=24)
    assert_outputs_match(expected, ours(inputs, do_sample=False, max_new_tokens=24), 0)


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 1},
        {"max_new_tokens": 40, "return_full_text": False},
        {"max_length": 30},
        {"max_new_tokens": 30, "min_new_tokens": 30},
        {"max_new_tokens": 30, "min_length": 28},
        {"max_new_tokens": 30, "repetition_penalty": 1.4},
        {"max_new_tokens": 30, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 30, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 20},
        {"max_new_tokens": 60, "stop_sequence": "LORD"},
        {"max_new_tokens": 60, "stop_sequence": [",", " the"], "return_full_text": False},
        {"max_new_tokens": 20, "prefix": "And God said, "},
        {"max_new_tokens": 12, "return_text": True},
        {"max_new_tokens": 12, "batch_size": 2, "temperature": None, "top_k": None, "top_p": None},
        {"max_new_tokens": 12, "do_sample": True, "top_k": 1},
    ],
    ids=str,
)
def test_options_do_what_they_do_in_transformers(ours, theirs, options):
    """Lengths, penalties, stop strings, prefixes and what is returned; sampling among one token is greedy as well."""
    options = {"do_sample": False, **options}
    if "batch_size" not in options:
        assert_outputs_match(theirs(PROMPTS, **options), ours(PROMPTS, **options), 0)
    else:  # transformers pads batches, and gpt2-verses has no token for that
        without = {name: value for name, value in options.items() if name != "batch_size"}
        assert_outputs_match(theirs(PROMPTS, **without), ours(PROMPTS, **options), 0)


def test_a_hole_makes_room_as_in_transformers(ours, theirs):
    """A prompt that leaves no room loses its beginning where that is asked for, and is refused otherwise."""
    prompt = " ".join(row["verse"] for row in sample_of(CHECKPOINT)[:30])
    options = {"do_sample": False, "max_new_tokens": 30, "return_full_text": False}
    expected = theirs(prompt, handle_long_generation="hole", **options)
    actual = ours(prompt, handle_long_generation="hole", **options)
    assert_outputs_match(expected, actual, 0)
    assert actual.metadata[0].num_input_tokens == CONTEXT - 30
    with pytest.raises(InputError, match="set truncate_prompt to cut its beginning"):
        ours(prompt, **options)


def test_metadata_tells_what_ended_a_text(ours, theirs):
    """Reasons and counts agree with what transformers' tokenizer makes of prompt and text."""
    (ended,) = ours(PROMPT, do_sample=False, repetition_penalty=1.3, max_new_tokens=200).metadata
    (cut,) = ours(PROMPT, do_sample=False, max_new_tokens=5).metadata
    (stopped,) = ours(PROMPT, do_sample=False, max_new_tokens=60, stop=",").metadata
    assert [one.finish_reason for one in (ended, cut, stopped)] == ["eos", "length", "stop"]
    assert cut.num_output_tokens == 5
    assert ended.num_output_tokens < 200
    assert {one.num_input_tokens for one in (ended, cut, stopped)} == {len(theirs.tokenizer(PROMPT)["input_ids"])}
    assert cut.model_version == 1


def test_without_options_a_text_is_sampled_to_the_end(ours):
    """transformers' defaults: sampled, and up to 256 tokens as far as the context goes."""
    texts = {ours(PROMPT)[0]["generated_text"] for _ in range(4)}
    assert len(texts) > 1
    (endless,) = ours(PROMPT, ignore_eos=True).metadata
    assert endless.finish_reason == "length"
    assert endless.num_input_tokens + endless.num_output_tokens == CONTEXT


def test_a_seed_gives_the_same_text_again(ours):
    """Alone, in a list of others, and as one of several sequences that differ from each other."""
    options = {"max_new_tokens": 30, "seed": 11}
    alone = ours(PROMPT, **options)
    assert ours(PROMPT, **options) == alone
    assert ours([*PROMPTS, PROMPT], **options)[-1] == alone
    assert ours(PROMPT, max_new_tokens=30, seed=12) != alone
    several = ours(PROMPT, num_return_sequences=3, **options)
    assert several == ours(PROMPT, num_return_sequences=3, **options)
    assert len({one["generated_text"] for one in several}) == 3
    assert len(several.metadata) == 3


def test_company_does_not_change_a_text(ours):
    """More prompts than slots at the same time, from several threads, give what each gives alone."""
    options = {"do_sample": False, "max_new_tokens": 20}
    alone = [ours(prompt, **options) for prompt in PROMPTS]
    with ThreadPoolExecutor(3) as pool:
        for together in pool.map(lambda _: ours(PROMPTS * 2, **options), range(3)):
            assert together == alone * 2
    assert list(ours(iter(PROMPTS), **options)) == alone


@pytest.mark.parametrize(
    "options", [{"do_sample": False}, {"seed": 5}, {"do_sample": False, "stop": ["LORD", ";"]}], ids=str
)
def test_the_pieces_of_a_stream_join_to_the_whole(ours, options):
    """Streams give the text of a call, piece by piece, and its metadata."""
    for prompt in (*PROMPTS[:3], "Ünïcödé 😀 東京"):
        whole = ours(prompt, max_new_tokens=60, return_full_text=False, **options)
        stream = ours.stream(prompt, max_new_tokens=60, **options)
        pieces = list(stream)
        assert "".join(pieces) == whole[0]["generated_text"]
        assert all(pieces)
        assert [stream.metadata] == whole.metadata


def test_pieces_come_while_the_text_goes_on(ours):
    """The first piece is there before the text has ended; the server is still writing then."""
    stream = ours.stream(PROMPT, return_full_text=True, **LONG)
    assert next(stream) == PROMPT
    next(stream)
    reason = stream.metadata.finish_reason
    pieces = list(stream)
    assert (reason, stream.metadata.finish_reason) == ("", "length")
    assert len(pieces) > 10


def metric(server, name):
    """What Triton's metrics say of the model."""
    url = f"http://{server.host}:{server.ports.metrics}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    (value,) = (line.split()[-1] for line in lines if line.startswith(f"hf2triton_{name}{{") and f'"{NAME}"' in line)
    return float(value)


def wait_until_free(server, seconds=30):
    until = time.monotonic() + seconds
    while metric(server, "live_slots") or metric(server, "queue_length"):
        assert time.monotonic() < until, "slots are still taken"
        time.sleep(0.05)


def test_leaving_a_stream_frees_the_server(server, ours):
    """Texts whose readers have left are not generated to their ends, and their slots are free again."""
    wait_until_free(server)
    before = metric(server, "generated_tokens_total")
    for _ in range(10):
        for _ in ours.stream(PROMPT, **LONG):
            break
    wait_until_free(server)
    time.sleep(0.5)  # the counter is told every so often
    generated = metric(server, "generated_tokens_total") - before
    assert 0 < generated < 10 * LONG["max_new_tokens"]


def test_the_first_failure_of_a_list_frees_the_server(server, ours):
    """One prompt that is refused ends the others, and the next call is answered."""
    wait_until_free(server)
    too_long = "verily " * 600
    with pytest.raises(InputError, match=r"the prompt is too long|for this prompt"):
        ours([*PROMPTS, too_long, *PROMPTS * 20], **LONG)
    wait_until_free(server)
    assert ours(PROMPT, max_new_tokens=2).metadata[0].num_output_tokens == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_p": 1.5}, "top_p must be a number from 0 to 1, not 1.5"),
        ({"temperature": 0.0, "do_sample": True}, "temperature must be"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1"),
        ({"num_return_sequences": 2, "do_sample": False}, "they would all be the same"),
        ({"stop": ["x"] * 99}, "stop must be"),
    ],
)
def test_settings_that_the_server_refuses(ours, options, message):
    """Bad values are InputErrors that say what is allowed, for calls and streams."""
    with pytest.raises(InputError, match=message):
        ours(PROMPT, **options)
    if "num_return_sequences" not in options:
        with pytest.raises(InputError, match=message):
            list(ours.stream(PROMPT, **options))


def test_the_deadline_holds_for_a_text(server):
    """What takes longer than the timeout is given up by both sides."""
    with pipeline(model=NAME, url=server.url, timeout=0.1) as hasty, pytest.raises(DeadlineExceeded):
        hasty(PROMPTS * 8, **LONG)
    wait_until_free(server)


def test_asyncio_gives_the_same(server, ours):
    """Calls, lists, iterators and streams of the asyncio twin."""
    options = {"do_sample": False, "max_new_tokens": 20}

    async def ask():
        async with aio.pipeline("text-generation", model=NAME, url=server.url, **options) as pipe:
            together = await asyncio.gather(*(pipe(prompt) for prompt in PROMPTS))
            stream = pipe.stream(PROMPT)
            return {
                "calls": together,
                "list": await pipe(PROMPTS),
                "iterator": [result async for result in pipe(iter(PROMPTS))],
                "stream": ("".join([piece async for piece in stream]), stream.metadata),
            }

    answers = asyncio.run(ask())
    expected = ours(PROMPTS, **options)
    assert [answers["calls"], answers["list"], answers["iterator"]] == [expected] * 3
    new = ours(PROMPT, return_full_text=False, **options)
    assert answers["stream"] == (new[0]["generated_text"], new.metadata[0])


def test_cancelling_a_task_frees_the_server(server):
    """Calls and streams of the asyncio twin end on the server with the task that waits for them."""
    wait_until_free(server)

    async def read(pipe):
        async for _ in pipe.stream(PROMPT, **LONG):
            await asyncio.sleep(3600)

    async def ask():
        async with aio.pipeline(model=NAME, url=server.url) as pipe:
            tasks = [asyncio.create_task(pipe(PROMPTS * 30, **LONG)), asyncio.create_task(read(pipe))]
            await asyncio.sleep(0.3)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(wait_until_free, server, 10)
            return ended

    assert [type(one) for one in asyncio.run(ask())] == [asyncio.CancelledError] * 2
