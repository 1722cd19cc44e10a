"""What a served decoder writes, against `model.generate` in PyTorch, on a trained checkpoint through the real server."""

from contextlib import ExitStack
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from hf2triton.tasks import find_task
from hf2triton_client.evaluation.compare import Greedy, compare_greedy

from ..conftest import PRECISIONS, entry_name
from ..support import TEXTS
from .generation_calls import FP32, Reply, Stream
from .generation_reference import CONTEXT, PROMPTS, ending, pytorch

NEW_TOKENS = 64
SAMPLED = {"do_sample": True, "max_new_tokens": NEW_TOKENS, "ignore_eos": True}


def long_prompt() -> str:
    """As long as leaves room for the new tokens."""
    return pytorch().text(pytorch().ids(" ".join(PROMPTS))[: CONTEXT - NEW_TOKENS])


@cache
def greedy(text: str) -> list[int]:
    return pytorch().generate(text, max_new_tokens=NEW_TOKENS)


def assert_told_rightly(reply: Reply, text: str) -> None:
    """The text is what the tokenizer makes of the tokens; counts and reason fit them."""
    [ids] = reply.token_ids
    assert reply.texts == [pytorch().text(ids)]
    assert reply.reasons == ["eos" if ids[-1] == pytorch().eos else "length"]
    assert (reply.counts, reply.prompt_tokens) == ([len(ids)], len(pytorch().ids(text)))


@pytest.mark.parametrize("precision", [*PRECISIONS, "int8"])
def test_greedy_texts_are_those_of_pytorch(server, precision):
    """The same 64 tokens or fewer after prompts of one token, of verses, in other scripts and as long as can be; in fp16 and
    int8 another token only where PyTorch's logits are as close as the exporter allows."""
    texts = ["And", long_prompt(), ending(), *PROMPTS[:12], *TEXTS[:-1]]
    with Stream(server) as stream:
        name = entry_name("gpt2", "text-generation", precision)
        requests = [stream.send(name, text, max_new_tokens=NEW_TOKENS) for text in texts]
        replies = [stream.read(request) for request in requests]
    for text, reply in zip(texts, replies, strict=True):
        assert_told_rightly(reply, text)
    assert {replies[0].prompt_tokens, replies[1].prompt_tokens} == {1, CONTEXT - NEW_TOKENS}
    assert {reason for reply in replies for reason in reply.reasons} == {"length", "eos"}
    served, expected = [reply.token_ids[0] for reply in replies], [greedy(text) for text in texts]
    if precision == "fp32":
        assert served == expected
    tolerance = find_task("text-generation").endpoints[0].outputs[0].tolerances[precision]
    pairs = [(recorded(text, ids), np.array(own)) for text, ids, own in zip(texts, expected, served, strict=True)]
    difference = compare_greedy("token_ids", pairs, tolerance)
    print(precision, difference)
    assert difference.passed, difference


def recorded(text: str, ids: list[int]) -> Greedy:
    logits = pytorch().logits(text, ids)
    best = np.argsort(-logits, axis=-1)[:, :16]
    return Greedy(np.array(ids), best, np.take_along_axis(logits, best, axis=-1))


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 40},
        {"max_new_tokens": 1},
        {"max_length": 30},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_length": 50},
    ],
)
def test_settings_mean_what_they_mean_in_transformers(server, settings):
    """Greedy texts under a setting are `generate`'s under the setting of that name."""
    settings = {"max_new_tokens": NEW_TOKENS, **settings}
    if "max_length" in settings:
        del settings["max_new_tokens"]
    with Stream(server) as stream:
        for text in (ending(), *PROMPTS[20:23]):
            reply = stream.ask(FP32, text, **settings)
            assert reply.token_ids == [pytorch().generate(text, **settings)]
            assert_told_rightly(reply, text)


def test_ignore_eos_goes_on_after_the_end(server):
    """The text is PyTorch's without an end, and holds the first one."""
    settings = {"max_new_tokens": NEW_TOKENS, "ignore_eos": True}
    with Stream(server) as stream:
        reply = stream.ask(FP32, ending(), **settings)
    assert reply.token_ids == [pytorch().generate(ending(), max_new_tokens=NEW_TOKENS, eos_token_id=-1)]
    assert reply.token_ids[0][: len(greedy(ending()))] == greedy(ending())
    assert (reply.reasons, reply.counts) == (["length"], [NEW_TOKENS])
    assert reply.texts == [pytorch().text(reply.token_ids[0])]


def test_staggered_streams_do_not_disturb_each_other(server):
    """Eight prompts, greedy and sampled, each sent when the one before has begun: each text is that of a run alone."""
    asked = [
        (prompt, {"max_new_tokens": 200, "ignore_eos": True, "do_sample": bool(index % 2), "seed": index})
        for index, prompt in enumerate(["And", long_prompt()[:150], *PROMPTS[:6]])
    ]
    with Stream(server) as stream:
        alone = [stream.ask(FP32, prompt, **settings) for prompt, settings in asked]
    for _ in range(10):  # until four were under way at once: mostly eight are, fewer where the machine is busy
        with ExitStack() as stack:
            streams, requests = [stack.enter_context(Stream(server)) for _ in asked], []
            for stream, (prompt, settings) in zip(streams, asked, strict=True):
                requests.append(stream.send(FP32, prompt, **settings))
                stream.first(requests[-1])
            together = [stream.read(request) for stream, request in zip(streams, requests, strict=True)]
        assert [reply.token_ids for reply in together] == [reply.token_ids for reply in alone]
        assert [reply.texts for reply in together] == [reply.texts for reply in alone]
        assert all(len(reply.pieces) > 1 for reply in together)
        spans = [(reply.arrived[0], reply.arrived[-1]) for reply in together]
        at_once = [sum(begin <= moment <= end for begin, end in spans) for moment, _ in spans]
        if max(at_once) >= 4:
            return
    pytest.fail(f"at most {max(at_once)} were ever under way at once")


def test_a_seed_gives_one_text_in_any_company(server):
    """The text of a seed is the same alone, again, and among seven others; another seed gives another text, none any."""
    with Stream(server) as stream:
        alone, again, other = (stream.ask(FP32, PROMPTS[0], seed=seed, **SAMPLED) for seed in (7, 7, 8))
        requests = [stream.send(FP32, prompt, seed=seed, **SAMPLED) for seed, prompt in enumerate(PROMPTS[1:8])]
        requests.insert(3, stream.send(FP32, PROMPTS[0], seed=7, **SAMPLED))
        company = [stream.read(request) for request in requests]
        unseeded = [stream.ask(FP32, PROMPTS[0], **SAMPLED) for _ in range(2)]
    assert alone.texts == again.texts == company[3].texts
    assert len({reply.texts[0] for reply in (alone, other, *unseeded, *company)}) == 4 + 7


def test_several_sequences_of_one_prompt(server):
    """Three texts come in one response; they differ, are the same for the same seed, and the first is that of a single one."""
    several = {"stream": False, "num_return_sequences": 3, **SAMPLED}
    with Stream(server) as stream:
        first, again, other = (stream.ask(FP32, PROMPTS[0], seed=seed, **several) for seed in (7, 7, 8))
        single = stream.ask(FP32, PROMPTS[0], seed=7, **SAMPLED)
        ended = stream.ask(FP32, PROMPTS[0], seed=1, **{**several, "ignore_eos": False, "max_new_tokens": 200})
    assert len(first.pieces) == 1
    assert first.token_ids == again.token_ids
    assert first.texts[:1] == single.texts
    assert len({*first.texts, *other.texts}) == 6
    assert len(set(ended.counts)) > 1  # of different lengths, in one tensor
    for reply in (first, other, ended):
        assert reply.counts == [len(ids) for ids in reply.token_ids]
        assert reply.texts == [pytorch().text(ids) for ids in reply.token_ids]


def test_pieces_of_broken_characters(server):
    """Pieces join to the tokenizer's text of all tokens, where single bytes are drawn at random and most are no UTF-8."""
    text, wild = "東京 😀 здравствуй", {**SAMPLED, "temperature": 10000, "top_k": 0}
    with Stream(server) as stream:
        requests = [stream.send(FP32, text, seed=seed, **wild) for seed in range(8)]
        replies = [stream.read(request) for request in requests]
        whole = stream.ask(FP32, text, stream=False, seed=0, **wild)
    assert [reply.texts for reply in replies] == [[pytorch().text(reply.token_ids[0])] for reply in replies]
    assert "\ufffd" in "".join(reply.texts[0] for reply in replies)
    assert whole.texts == replies[0].texts
    assert (len(whole.pieces), len(replies[0].pieces) > 1) == (1, True)


def test_the_prompt_stands_before_the_text_on_request(server):
    """return_full_text: the prompt as it was sent, once, before the text; as a stream and whole."""
    for text in (PROMPTS[0], TEXTS[4]):
        with Stream(server) as stream:
            for streamed in (True, False):
                reply = stream.ask(FP32, text, stream=streamed, return_full_text=True, max_new_tokens=NEW_TOKENS)
                assert reply.texts == [text + pytorch().text(greedy(text))]
                assert reply.token_ids == [greedy(text)]


#: What each stops at, made from the texts of the tokens that come without stop strings.
STOPS = {
    "a token": lambda prompt, pieces: [pieces[4]],
    "several tokens": lambda prompt, pieces: ["".join(pieces[3:6])],
    "from within a token into the next": lambda prompt, pieces: ["".join(pieces[2:5])[1:-1]],
    "the last before the end": lambda prompt, pieces: ["".join(pieces[-6:])],
    "the first to be complete": lambda prompt, pieces: ["nowhere", "".join(pieces[2:7]), "".join(pieces[3:5])],
    "from the prompt into the text": lambda prompt, pieces: [prompt[-3:] + pieces[0]],
    "not there": lambda prompt, pieces: ["nowhere", "".join(pieces[2:7]) + "!?"],
}


@pytest.mark.parametrize("made", STOPS.values(), ids=STOPS)
def test_stop_strings(server, made):
    """Generation ends at the token that transformers ends at; the stop string is cut off, or kept as transformers does."""
    ids = greedy(ending())
    texts = [pytorch().text(ids[:count]) for count in range(len(ids))]
    stop = made(ending(), [text[len(before) :] for before, text in pairwise(texts)])
    settings = {"max_new_tokens": NEW_TOKENS, "stop_strings": stop, "tokenizer": pytorch().tokenizer}
    expected = pytorch().generate(ending(), **settings)
    kept = pytorch().text(expected)
    reason = "eos" if expected[-1] == pytorch().eos else "stop"
    assert (reason == "eos") == (made is STOPS["not there"])
    found = [kept.find(text) for text in stop if text in kept]
    cut = kept if reason == "eos" else kept[: min(found, default=0)]
    with Stream(server) as stream:
        for streamed in (True, False):
            for keep, text in ((True, kept), (False, cut)):
                reply = stream.ask(
                    FP32, ending(), stream=streamed, stop=stop, keep_stop=keep, max_new_tokens=NEW_TOKENS
                )
                assert reply.texts == [text]
                assert reply.token_ids == [expected]
                assert (reply.reasons, reply.counts) == ([reason], [len(expected)])
