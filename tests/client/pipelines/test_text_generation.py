"""What text-generation asks of the server and makes of its answers."""

import asyncio
import json
from collections import ChainMap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, TextGenerationPipeline

from hf2triton.triton_models.generation.settings import Settings
from hf2triton_client import GenerationMetadata, InputError, aio, pipeline
from hf2triton_client.pipelines.text_generation import settings_of

from ..fake_triton import NAME, FakeTriton, response

#: More than any prompt and any number of new tokens here.
CONTEXT = 4096
PROMPT = "a a a"


@pytest.fixture(scope="module")
def transformers_pipeline():
    """transformers' own pipeline over a model that knows two words."""
    words = Tokenizer(WordLevel({"a": 0, "<|endoftext|>": 1}, unk_token="a"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>")
    config = GPT2Config(vocab_size=2, n_embd=2, n_layer=1, n_head=1, n_positions=CONTEXT)
    return TextGenerationPipeline(model=GPT2LMHeadModel(config), tokenizer=tokenizer)


def effect_in_transformers(pipe, checkpoint, options):
    """What transformers' pipeline lets `generate` do, given the checkpoint's generation config and a call's options."""
    configs = []

    def record(model, input_ids, generation_config, **_):
        configs.append(generation_config)
        return input_ids

    pipe.model.generation_config = GenerationConfig(**checkpoint)
    pipe(PROMPT, custom_generate=record, **options)
    (config,) = configs
    off = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    effect = {name: off[name] if getattr(config, name) is None else getattr(config, name) for name in off}
    tokens = len(PROMPT.split())
    return effect | {
        "do_sample": bool(config.do_sample),
        "most": config.max_length - tokens,
        "least": max((config.min_length or 0) - tokens, 0),
    }


def effect_on_the_server(checkpoint, options, defaults=()):
    """The same, of what the client sends and of what the front makes of it."""
    sent = json.dumps(settings_of(ChainMap(options, dict(defaults)), checkpoint))
    settings = Settings.parse(sent, Settings.of_checkpoint(checkpoint))
    tokens = len(PROMPT.split())
    names = ("temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size", "do_sample")
    return {name: getattr(settings, name) for name in names} | {
        "most": settings.lengths(tokens, CONTEXT).new_tokens,
        "least": settings.least_new_tokens(tokens),
    }


def assert_same_effect(expected, actual):
    """Where nothing is sampled, only what bears on the likeliest token counts."""
    sampling = set() if expected["do_sample"] else {"temperature", "top_k", "top_p"}
    assert {k: v for k, v in expected.items() if k not in sampling} == {
        k: v for k, v in actual.items() if k not in sampling
    }


CHECKPOINTS = st.fixed_dictionaries(
    {},
    optional={
        "do_sample": st.booleans(),
        "temperature": st.sampled_from([0.5, 1.0]),
        "top_k": st.sampled_from([7, 50]),
        "top_p": st.sampled_from([0.5, 1.0]),
        "repetition_penalty": st.sampled_from([1.3]),
        "no_repeat_ngram_size": st.sampled_from([2]),
        "max_new_tokens": st.sampled_from([11]),
        "max_length": st.sampled_from([30, 300]),
        "min_new_tokens": st.sampled_from([4]),
        "min_length": st.sampled_from([9]),
    },
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "do_sample": st.sampled_from([True, False, None]),
        "temperature": st.sampled_from([0.3, None]),
        "top_k": st.sampled_from([5, 0, None]),
        "top_p": st.sampled_from([0.9, None]),
        "repetition_penalty": st.sampled_from([1.1, None]),
        "no_repeat_ngram_size": st.sampled_from([3, None]),
        "max_new_tokens": st.sampled_from([8]),
        "max_length": st.sampled_from([25, None]),
        "min_new_tokens": st.sampled_from([2]),
        "min_length": st.sampled_from([6, None]),
    },
)


@given(checkpoint=CHECKPOINTS, options=CALLS)
def test_a_call_does_what_it_does_in_transformers(transformers_pipeline, checkpoint, options):
    """Whatever a call and the checkpoint set or leave open, lengths, sampling and penalties are those of transformers."""
    expected = effect_in_transformers(transformers_pipeline, checkpoint, options)
    assert_same_effect(expected, effect_on_the_server(checkpoint, options))


@pytest.mark.parametrize(
    ("checkpoint", "options"), [({}, {}), ({}, {"max_new_tokens": None}), ({"max_length": 20}, {"do_sample": False})]
)
def test_defaults_are_those_of_the_pipeline(transformers_pipeline, checkpoint, options):
    """256 tokens, sampled at 0.7, but not where a length is given, be it None, or where nothing is sampled."""
    expected = effect_in_transformers(transformers_pipeline, checkpoint, options)
    assert_same_effect(expected, effect_on_the_server(checkpoint, options))


def test_what_is_sent_when_nothing_is_asked():
    """The defaults of transformers' pipeline, and the stop string of the checkpoint stays in the text."""
    expected = {"default_new_tokens": 256, "do_sample": True, "temperature": 0.7, "keep_stop": True}
    assert settings_of(ChainMap({}, {}), {}) == expected
    assert settings_of(ChainMap({}, {}), {"stop": ["END"]}) == expected


@pytest.mark.parametrize(
    ("options", "defaults", "expected"),
    [
        ({"stop_sequence": "."}, {}, "."),
        ({"stop_strings": [".", ";"]}, {}, [".", ";"]),
        ({"stop": "."}, {"stop_sequence": ";"}, "."),
        ({"stop": None}, {"stop_sequence": ";"}, ";"),
    ],
)
def test_stop_strings_have_three_names(options, defaults, expected):
    """transformers' two names and the server's mean the same; those of the call go before those of the pipeline."""
    settings = settings_of(ChainMap(options, defaults), {})
    assert (settings["stop"], settings["keep_stop"]) == (expected, True)


@pytest.mark.parametrize(
    ("options", "cut"), [({"handle_long_generation": "hole"}, True), ({"truncate_prompt": True}, True)]
)
def test_a_hole_cuts_the_prompt(options, cut):
    """transformers' way to ask for room, and the server's."""
    assert settings_of(ChainMap(options), {})["truncate_prompt"] is cut


def parrot(seen, context):
    """Answers with as many sequences as were asked for, or with pieces of which one is empty."""
    if seen.text == "bad":
        raise AssertionError("this was not to be sent")
    count = seen.settings.get("num_return_sequences", 1)
    if not seen.stream:
        numbered = [f" {seen.text.upper()} {index}" for index in range(count)]
        yield response(numbered, ["eos"] + ["length"] * (count - 1), range(5, 5 + count))
        return
    yield response([" ONE"], [""], [1])
    yield response([""], [""], [2])
    yield response([" TWO"], ["stop"], [3])


@pytest.fixture(scope="module")
def triton():
    with FakeTriton(parrot) as running:
        yield running


@pytest.fixture(scope="module")
def pipe(triton):
    with pipeline("text-generation", model=NAME, url=triton.url, headers={"key": "1"}, timeout=30) as opened:
        yield opened


def test_results_have_the_shape_of_transformers(pipe):
    """A string gives a list of dicts, a list gives a list of those, an iterator an iterator of those."""
    assert pipe("a") == [{"generated_text": "a A 0"}]
    assert pipe("a", num_return_sequences=2) == [{"generated_text": "a A 0"}, {"generated_text": "a A 1"}]
    assert pipe(["a"]) == [[{"generated_text": "a A 0"}]]
    assert pipe(["a", b"b"]) == [[{"generated_text": "a A 0"}], [{"generated_text": "b B 0"}]]
    assert list(pipe(iter("ab"))) == [[{"generated_text": "a A 0"}], [{"generated_text": "b B 0"}]]
    assert pipe(text_inputs="") == [{"generated_text": "  0"}]


def test_metadata_has_the_shape_of_the_result(pipe):
    """Each text has its reason, its counts and the version that gave it."""
    first, second = GenerationMetadata("eos", 3, 5, 4), GenerationMetadata("length", 3, 6, 4)
    assert pipe("a", num_return_sequences=2).metadata == [first, second]
    result = pipe(["a", "b"])
    assert result.metadata == [[first], [first]] == [own.metadata for own in result]


def test_the_prompt_is_put_before_the_text_here(pipe, triton):
    """The server is asked for the new text; a prefix is sent and not shown."""
    assert pipe("a", return_full_text=False) == [{"generated_text": " A 0"}]
    assert pipe("a", prefix="in ") == [{"generated_text": "a IN A 0"}]
    assert (triton.seen[-1].text, "return_full_text" in triton.seen[-1].settings) == ("in a", False)
    assert pipe("a", return_text=True, return_full_text=None) == [{"generated_text": "a A 0"}]


def test_what_is_sent(pipe, triton):
    """Settings as JSON, the connection's headers and its deadline; nothing that lets Triton crash."""
    pipe("a", max_new_tokens=3, do_sample=False, seed=7)
    seen = triton.seen[-1]
    assert seen.settings == {"max_new_tokens": 3, "do_sample": False, "seed": 7, "keep_stop": True}
    assert seen.headers["key"] == "1"
    assert "triton_grpc_error" not in seen.headers
    assert 20 < seen.seconds < 31


def test_a_stream_gives_pieces(pipe, triton):
    """Pieces join to the new text, none is empty, and the metadata tells how far it has come."""
    pieces = pipe.stream("a", max_new_tokens=9)
    assert pieces.metadata is None
    assert next(pieces) == " ONE"
    assert pieces.metadata == GenerationMetadata("", 3, 1, 4)
    assert list(pieces) == [" TWO"]
    assert pieces.metadata == GenerationMetadata("stop", 3, 3, 4)
    assert (list(pieces), triton.seen[-1].stream) == ([], True)
    assert list(pipe.stream("a", return_full_text=True)) == ["a", " ONE", " TWO"]


def test_options_of_the_pipeline_are_defaults(triton):
    """What pipeline() was given holds for calls and for streams, unless they say otherwise."""
    with pipeline(model=NAME, url=triton.url, return_full_text=True, top_k=3) as own:
        assert list(own.stream("a")) == ["a", " ONE", " TWO"]
        assert list(own.stream("a", return_full_text=False, top_k=4)) == [" ONE", " TWO"]
    assert [seen.settings["top_k"] for seen in triton.seen[-2:]] == [3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_beams": 4},
            "text-generation takes no num_beams; it takes batch_size, .*, top_k, top_p, truncate_prompt",
        ),
        ({"streamer": 1, "return_tensors": True}, "takes no return_tensors, streamer"),
        ({"handle_long_generation": "cut"}, "None or 'hole', not 'cut'"),
        ({"stop": ".", "stop_strings": "."}, "stop_strings and stop are names of the same option"),
        ({"return_text": True, "return_full_text": True}, "exclude each other"),
        ({"prefix": 3}, "prefix should be a string, not int"),
        ({"prefix": "a", "max_length": 30}, "max_length counts .* give max_new_tokens instead"),
        ({"prefix": "a", "min_length": 3, "max_new_tokens": 9}, "min_length counts .* give min_new_tokens instead"),
        ({"prefix": "\ud800"}, "lone surrogate"),
        ({"stop": {"."}}, "cannot be sent: .*set"),
    ],
)
def test_options_that_cannot_be_honoured(pipe, options, message):
    """They are refused by name, for calls and for streams, before anything is sent."""
    with pytest.raises(InputError, match=message):
        pipe("bad", **options)
    with pytest.raises(InputError, match=message):
        pipe.stream("bad", **options)


CHAT = [{"role": "user", "content": "bad"}]


@pytest.mark.parametrize("inputs", [CHAT, [CHAT, CHAT], CHAT[0], iter([CHAT])])
def test_chats_are_refused(pipe, inputs):
    """A chat needs a template, which the model has not."""
    with pytest.raises(InputError, match=r"text 0 is a .* no template for chats"):
        list(pipe(inputs))


@pytest.mark.parametrize(
    ("inputs", "message"), [([], "empty"), (3, "not int"), (["bad", 3], "text 1 should be a string, not int")]
)
def test_other_inputs_are_refused(pipe, inputs, message):
    """As everywhere, the text is named by its index."""
    with pytest.raises(InputError, match=message):
        pipe(inputs)


def test_a_stream_continues_one_prompt(pipe):
    """Lists, and several sequences whoever asks for them, are refused."""
    with pytest.raises(InputError, match="one prompt, a string, not list"):
        pipe.stream(["bad"])
    with pytest.raises(InputError, match="num_return_sequences is 2"):
        pipe.stream("bad", num_return_sequences=2)
    with (
        FakeTriton(parrot, defaults={"num_return_sequences": 3}) as triton,
        pipeline(model=NAME, url=triton.url) as own,
    ):
        with pytest.raises(InputError, match="num_return_sequences is 3"):
            own.stream("bad")
        assert list(own.stream("a", num_return_sequences=1)) == [" ONE", " TWO"]


def scores(seen, context):
    """Answers with a log probability for each character but the first."""
    logprobs = [-0.5 * ord(character) for character in seen.text[1:]]
    yield response([""], ["length"], [0], used=len(seen.text), logprobs=logprobs)


@pytest.fixture(scope="module")
def scoring():
    """A server of a checkpoint that gives several texts unless it is asked otherwise, and a pipeline on it."""
    with (
        FakeTriton(scores, slots=2, defaults={"num_return_sequences": 3, "do_sample": True}) as running,
        pipeline(model=NAME, url=running.url, max_new_tokens=9) as opened,
    ):
        yield running, opened


def test_logprobs_have_the_shape_of_the_texts(scoring):
    """A list of floats for a string, a list of those for a list, in its order."""
    _, pipe = scoring
    assert pipe.logprobs("ab") == pipe.logprobs(b"ab") == [-49.0]
    assert pipe.logprobs(["abc"]) == [[-49.0, -49.5]]
    assert pipe.logprobs(["ab", b"xyz", "\u00e9a"] * 5) == [[-49.0], [-60.5, -61.0], [-48.5]] * 5
    assert {type(value) for value in pipe.logprobs("abc")} == {float}


def test_what_is_sent_for_logprobs(scoring):
    """What only concerns new texts is not, whatever the pipeline and the checkpoint were given; generation asks for none."""
    triton, pipe = scoring
    pipe.logprobs("ab")
    seen = triton.seen[-1]
    assert seen.settings == {"prompt_logprobs": True, "truncate_prompt": True, "num_return_sequences": 1}
    assert (seen.text, seen.stream, "prompt_logprobs" in seen.outputs) == ("ab", False, True)
    pipe("ab")
    assert "prompt_logprobs" not in triton.seen[-1].outputs


@pytest.mark.parametrize(
    ("texts", "message"),
    [("", "text 0 is empty"), ([], "list of texts is empty"), (["ab", 3], "text 1 should be a string, not int")],
)
def test_logprobs_of_nothing_are_refused(scoring, texts, message):
    """Before anything is sent."""
    triton, pipe = scoring
    before = len(triton.seen)
    with pytest.raises(InputError, match=message):
        pipe.logprobs(texts)
    assert len(triton.seen) == before


def test_logprobs_can_be_awaited(scoring):
    """Of an asyncio pipeline, in the same shape."""
    triton, _ = scoring

    async def ask():
        async with aio.pipeline(model=NAME, url=triton.url) as pipe:
            return await pipe.logprobs("ab"), await pipe.logprobs(["ab", "abc"])

    assert asyncio.run(ask()) == ([-49.0], [[-49.0], [-49.0, -49.5]])
