"""Settings come from the request, then the checkpoint, then transformers; what is unknown or out of range is named."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from hf2triton.triton_models.generation.generation_config import eos_token_ids
from hf2triton.triton_models.generation.settings import Lengths, Settings


def test_defaults_are_those_of_transformers():
    """A request and a checkpoint that say nothing get what generate does by default."""
    expected = GenerationConfig._get_default_generation_params()
    actual = Settings.parse("{}", Settings.of_checkpoint({}))
    for name in (
        *("min_length", "do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size"),
        "num_return_sequences",
    ):
        assert getattr(actual, name) == expected[name], name
    assert actual.lengths(5, 1024) == Lengths(5, expected["max_length"])


def test_a_saved_generation_config_is_taken():
    """What transformers writes into generation_config.json, nulls and special tokens included, is understood."""
    config = GenerationConfig(
        do_sample=True, temperature=0.7, top_k=None, max_new_tokens=30, stop_strings=["END"], eos_token_id=[2, 3]
    ).to_dict()
    actual = Settings.of_checkpoint(json.loads(json.dumps(config)))
    assert actual == Settings(do_sample=True, temperature=0.7, max_new_tokens=30, stop=("END",))
    assert eos_token_ids(config) == (2, 3)
    assert eos_token_ids({"eos_token_id": 2}) == (2,)
    assert eos_token_ids({}) == ()


def test_the_request_goes_before_the_checkpoint():
    """What the request sets wins, what it has as null or lacks is the checkpoint's."""
    defaults = Settings.of_checkpoint({"do_sample": True, "temperature": 0.7, "top_k": 10})
    actual = Settings.parse('{"temperature": 1, "top_k": null, "stop": "\\n", "seed": 3}', defaults)
    assert actual == Settings(do_sample=True, temperature=1.0, top_k=10, stop=("\n",), seed=3)
    assert type(actual.temperature) is float


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_beams": 4, "typical_p": 0.9}, "num_beams=4, typical_p=0.9, which is not supported"),
        ({"suppress_tokens": [3]}, r"suppress_tokens=\[3\]"),
        ({"temperature": 0.0}, "generation config: temperature must be a number from 0.0001"),
    ],
)
def test_a_checkpoint_that_asks_for_more_is_refused(config, message):
    """What would give another text than transformers is not left out silently."""
    with pytest.raises(ValueError, match=message):
        Settings.of_checkpoint(config)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", r"must be a JSON object, not \[1\]"),
        ('{"top_q": 1, "best_of": 2}', "unknown parameters best_of, top_q; known are max_new_tokens, max_length"),
        ('{"max_new_tokens": 0}', "max_new_tokens must be an integer of at least 1, not 0"),
        ('{"max_new_tokens": true}', "max_new_tokens must be an integer of at least 1, not true"),
        ('{"max_new_tokens": 3.0}', "max_new_tokens must be an integer of at least 1, not 3.0"),
        ('{"max_length": -1}', "max_length must be an integer of at least 1"),
        ('{"min_new_tokens": -1}', "min_new_tokens must be an integer of at least 0"),
        ('{"do_sample": 1}', "do_sample must be true or false, not 1"),
        ('{"temperature": 0}', "temperature must be a number from 0.0001 to 10000, not 0"),
        ('{"temperature": NaN}', "temperature must be a number from 0.0001 to 10000, not NaN"),
        ('{"temperature": "1"}', "temperature must be a number"),
        ('{"top_k": -1}', "top_k must be an integer of at least 0, not -1"),
        ('{"top_p": 1.01}', "top_p must be a number from 0 to 1, not 1.01"),
        ('{"repetition_penalty": 1e9}', "repetition_penalty must be a number from 0.0001 to 10000"),
        ('{"no_repeat_ngram_size": "2"}', "no_repeat_ngram_size must be an integer"),
        ('{"seed": -1}', "seed must be an integer from 0 to 18446744073709551615"),
        ('{"stop": ""}', "stop must be a text or a list of up to 16 texts, each of 1 to 256 characters"),
        ('{"stop": ["a", 1]}', "stop must be"),
        ('{"stop": "%s"}' % ("x" * 257), "stop must be"),
        (json.dumps({"stop": ["x"] * 17}), "stop must be"),
        ('{"num_return_sequences": 65}', "num_return_sequences must be an integer from 1 to 64"),
        ('{"num_return_sequences": 2}', "num_return_sequences is 2, but without do_sample"),
        ('{"return_full_text": null, "ignore_eos": "yes"}', "ignore_eos must be true or false"),
        ('{"truncate_prompt": 0}', "truncate_prompt must be true or false"),
        ('{"max_tokens": 3, "max_new_tokens": 3}', "max_tokens is another name of max_new_tokens"),
        ('{"min_tokens": "7", "min_new_tokens": 7}', "min_tokens is another name of min_new_tokens"),
        ('{"max_tokens": "0"}', 'max_tokens must be an integer of at least 1, not "0"'),
        ('{"max_tokens": "many"}', 'max_tokens must be an integer of at least 1, not "many"'),
    ],
)
def test_bad_settings_are_named_with_what_is_allowed(parameters, message):
    """An error says which setting, what it must be and what it was."""
    with pytest.raises(ValueError, match=message):
        Settings.parse(parameters)


@given(st.text() | st.dictionaries(st.text(), st.floats() | st.text() | st.integers(), max_size=3).map(json.dumps))
def test_no_other_error_than_valueerror(text):
    """Whatever is sent, it is refused as a bad request, not as a fault of the server."""
    with contextlib.suppress(ValueError):
        assert isinstance(Settings.parse(text), Settings)


def test_load_generators_are_understood():
    """GenAI-Perf sends lengths under the names of vLLM, as text."""
    actual = Settings.parse('{"max_tokens": "128", "min_tokens": "128", "ignore_eos": true}')
    assert actual == Settings(max_new_tokens=128, min_new_tokens=128, ignore_eos=True)
    assert Settings.parse('{"max_tokens": 5}') == Settings(max_new_tokens=5)


class TestLengths:
    """Of a prompt and the new tokens."""

    @pytest.mark.parametrize(
        ("settings", "prompt", "expected"),
        [
            (Settings(), 5, Lengths(5, 20)),
            (Settings(), 90, Lengths(90, 10)),
            (Settings(max_new_tokens=95), 5, Lengths(5, 95)),
            (Settings(max_length=50), 5, Lengths(5, 45)),
            (Settings(max_length=500), 5, Lengths(5, 95)),
            (Settings(max_length=50, max_new_tokens=60), 5, Lengths(5, 60)),
            (Settings(truncate_prompt=True), 500, Lengths(80, 20)),
            (Settings(truncate_prompt=True, max_new_tokens=99), 2, Lengths(1, 99)),
            (Settings(truncate_prompt=True, max_new_tokens=9), 2, Lengths(2, 9)),
        ],
    )
    def test_in_a_context_of_100(self, settings, prompt, expected):
        """max_new_tokens counts first, then max_length with the prompt, then 20; the context is the end of it."""
        assert settings.lengths(prompt, 100) == expected

    @pytest.mark.parametrize(
        ("settings", "prompt", "message"),
        [
            (Settings(), 0, "the prompt has no tokens"),
            (Settings(), 100, "too long: the prompt has 100 tokens and the model takes 100 together.*truncate_prompt"),
            (Settings(max_new_tokens=96), 5, "max_new_tokens must be an integer from 1 to 95 for this prompt, not 96"),
            (Settings(max_length=50), 50, r"max_length \(50\) counts the prompt and leaves no room"),
            (Settings(max_length=50, truncate_prompt=True), 500, "set max_new_tokens instead"),
            (Settings(max_new_tokens=100, truncate_prompt=True), 5, "max_new_tokens must be an integer from 1 to 99"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, settings, prompt, message):
        """The error has the numbers and says what to change."""
        with pytest.raises(ValueError, match=message):
            settings.lengths(prompt, 100)

    @given(
        st.builds(
            Settings,
            max_new_tokens=st.none() | st.integers(1, 40),
            max_length=st.none() | st.integers(1, 40),
            truncate_prompt=st.booleans(),
        ),
        st.integers(1, 40),
        st.integers(2, 30),
    )
    def test_never_more_than_the_context(self, settings, prompt, context):
        """What is not refused fits, keeps some of the prompt, all of it unless it may be cut, and generates something."""
        try:
            lengths = settings.lengths(prompt, context)
        except ValueError:
            return
        assert 1 <= lengths.prompt <= prompt
        assert 1 <= lengths.new_tokens <= context - lengths.prompt
        assert settings.truncate_prompt or lengths.prompt == prompt
        if settings.max_new_tokens:
            assert lengths.new_tokens == settings.max_new_tokens

    @pytest.mark.parametrize(
        "length", [{}, {"max_new_tokens": 7}, {"max_length": 9}, {"max_length": 9, "max_new_tokens": 3}], ids=str
    )
    @pytest.mark.parametrize("prompt", [1, 8, 12])
    def test_generate_gives_as_many(self, length, prompt):
        """transformers generates as many tokens, or refuses as well."""
        config = GPT2Config(
            vocab_size=10, n_positions=24, n_embd=4, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
        )
        model = GPT2LMHeadModel(config).eval()
        model.generation_config.eos_token_id = None
        ids = model.dummy_inputs["input_ids"][:1, :1].expand(1, prompt) % 10
        try:
            expected = model.generate(ids, do_sample=False, pad_token_id=0, **length).shape[1] - prompt
        except ValueError:
            with pytest.raises(ValueError, match="max_length"):
                Settings(**length).lengths(prompt, 24)
            return
        assert Settings(**length).lengths(prompt, 24) == Lengths(prompt, expected)


def test_the_least_new_tokens():
    """min_new_tokens goes before min_length, which counts the prompt."""
    assert Settings(min_length=8).least_new_tokens(5) == 3
    assert Settings(min_length=8).least_new_tokens(9) == 0
    assert Settings(min_length=8, min_new_tokens=0).least_new_tokens(5) == 0
