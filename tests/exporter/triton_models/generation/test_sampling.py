"""Scores are those of transformers' own processors, and a seed gives the same tokens in any company."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import GenerationConfig, GenerationMixin, GPT2Config, GPT2LMHeadModel
from transformers.generation.logits_process import TopPLogitsWarper

from hf2triton.triton_models.generation.sampling import Sampler
from hf2triton.triton_models.generation.settings import Settings

VOCABULARY = 24
EOS = (3, 7, VOCABULARY + 5)

#: Few values, so that many are equal, both zeros, some that cannot be chosen and some at the ends of fp16.
adversarial = arrays.arrays(
    np.float32,
    VOCABULARY,
    elements=st.sampled_from([-np.inf, -65504.0, -3.5, -1.0, -0.0, 0.0, 0.25, 1.0, 2.0, 65504.0]),
).filter(lambda logits: np.isfinite(logits).any())
random = st.integers(0, 2**32 - 1).map(
    lambda seed: (np.random.default_rng(seed).normal(size=VOCABULARY) * 4).astype(np.float32)
)
logits_of_a_step = st.one_of(random, adversarial)
# the tokenizer may have tokens beyond the model's logits
prompts = st.lists(st.integers(0, VOCABULARY + 6), min_size=1, max_size=30)
some_settings = st.builds(
    Settings,
    do_sample=st.booleans(),
    min_new_tokens=st.sampled_from([None, 0, 2]),
    min_length=st.sampled_from([0, 6]),
    temperature=st.sampled_from([1.0, 0.7, 0.0001, 3.0]),
    top_k=st.sampled_from([0, 1, 5, 50]),
    top_p=st.sampled_from([1.0, 0.95, 0.9, 0.75, 0.5, 1 / 3, 0.0]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.5]),
    no_repeat_ngram_size=st.sampled_from([0, 1, 2, 3]),
)


def processors(settings: Settings, prompt: list[int]):
    """What `generate` would apply, made by its own code in its own order."""
    names = ("temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size", "do_sample")
    config = GenerationConfig()
    for name in names:
        setattr(config, name, getattr(settings, name))
    config._eos_token_tensor = torch.tensor(EOS)
    config.min_new_tokens, config.min_length = settings.min_new_tokens, settings.min_length
    if config.min_new_tokens is not None:  # as in _prepare_generated_length
        config.min_length = config.min_new_tokens + len(prompt)

    class Model(GenerationMixin):
        config = type("Config", (), {"is_encoder_decoder": False})

    mask = {"attention_mask": torch.ones(1, len(prompt), dtype=torch.long)}
    return Model()._get_logits_processor(config, input_ids_seq_length=len(prompt), model_kwargs=mask)


def assert_same_top_p(expected: np.ndarray, actual: np.ndarray, top_p: float, before: np.ndarray) -> None:
    """The best tokens stay, as many as in torch, but for a limit that is that of a token but for rounding; which of equal
    ones stay is open, since torch's sort is not stable. `before`: the scores that top_p was applied to."""
    kept = np.isfinite(actual)
    np.testing.assert_array_equal(actual[kept], before[kept])
    assert not kept.any() or before[kept].min() >= before[~kept].max(initial=-np.inf)
    sums = torch.from_numpy(before).sort()[0].softmax(-1).cumsum(-1).numpy()
    fewer, more = sorted((np.isneginf(expected).sum(), np.isneginf(actual).sum()))
    np.testing.assert_allclose(sums[fewer:more], 1 - top_p, atol=1e-6)


@given(some_settings, prompts, st.lists(logits_of_a_step, min_size=1, max_size=5))
def test_scores_equal_those_of_transformers(settings, prompt, steps):
    """After each token, with any settings together, the scores are bit for bit what generate's processors give."""
    sampler, theirs, history = Sampler(settings, prompt, EOS), processors(settings, prompt), list(prompt)
    for logits in steps:
        ids, expected = torch.tensor([history]), torch.from_numpy(logits.copy())[None]
        before = expected
        for processor in theirs:
            before, expected = expected, processor(ids, expected)
        actual = sampler.scores(logits)
        if any(isinstance(processor, TopPLogitsWarper) for processor in theirs):
            assert_same_top_p(expected[0].numpy(), actual, settings.top_p, before[0].numpy())
        else:
            np.testing.assert_array_equal(expected[0].numpy(), actual)
        if not np.isfinite(actual).any():
            return
        history.append(sampler.next(logits))


@pytest.mark.parametrize(
    "options",
    [{}, {"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}, {"min_new_tokens": 12}, {"min_length": 9}],
    ids=str,
)
def test_greedy_equals_generate(options):
    """On a model whose text ends early and repeats itself, the tokens are those of model.generate."""
    torch.manual_seed(6)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=8, n_layer=1, n_head=1)).eval()
    model.generation_config.eos_token_id, prompt = [3, 5], [1, 4, 1]
    ids = torch.tensor([prompt])
    expected = model.generate(ids, do_sample=False, max_new_tokens=20, pad_token_id=0, **options)[0].tolist()
    sampler = Sampler(Settings(**options), prompt, [3, 5])
    while len(prompt) < len(expected):
        with torch.no_grad():
            prompt.append(sampler.next(model(torch.tensor([prompt])).logits[0, -1].numpy()))
    assert prompt == expected
    assert len(prompt) == 23 or prompt[-1] in (3, 5)


@given(prompts, st.lists(logits_of_a_step, min_size=1, max_size=5))
def test_greedy_takes_the_best_score(prompt, steps):
    """Without do_sample the token is the first of the best, as torch.argmax takes it."""
    settings = Settings(repetition_penalty=1.2)
    sampler, twin = Sampler(settings, prompt), Sampler(settings, prompt)
    for logits in steps:
        expected = torch.from_numpy(sampler.scores(logits)).argmax().item()
        assert sampler.next(logits) == expected == twin.next(logits)


def test_equal_tokens_come_to_the_limit_of_torch():
    """With top_p as a fraction of equal tokens, as many stay as in torch, although the sums are rounded."""
    for size in range(1, 50):
        logits = np.zeros(size, np.float32)
        for count in range(1, size):
            settings = Settings(do_sample=True, top_k=0, top_p=count / size)
            expected = TopPLogitsWarper(count / size)(None, torch.from_numpy(logits)[None])
            assert expected.isfinite().sum() == np.isfinite(Sampler(settings, [1]).scores(logits)).sum()


def test_nothing_is_copied_where_nothing_is_processed():
    """Greedy decoding looks at the engine's own array."""
    logits = np.arange(8, dtype=np.float32)
    assert Sampler(Settings(), [1]).scores(logits) is logits


@given(some_settings, random)
def test_the_logits_are_not_written_to(settings, logits):
    """The array is the engine's, and other sequences may share it."""
    kept = logits.copy()
    logits.flags.writeable = False
    Sampler(settings, [1, 2, 1], EOS).scores(logits)
    np.testing.assert_array_equal(kept, logits)


def drawn(seed: int | None, sequence: int = 0, steps: int = 30, noise: float = 0.0, **options) -> list[int]:
    """Tokens for the same logits each time; `noise`: how much another batch rounds them otherwise."""
    random = np.random.default_rng(5)
    sampler = Sampler(Settings(do_sample=True, seed=seed, **options), [1], (), sequence)
    logits = [(random.normal(size=500) * 2).astype(np.float32) for _ in range(steps)]
    return [sampler.next(row + random.uniform(-noise, noise, 500).astype(np.float32)) for row in logits]


def test_a_seed_gives_the_same_tokens():
    """Whatever else was drawn in between, and not those of another seed or of another sequence of the request."""
    first = drawn(7)
    np.random.seed(0)
    drawn(None)
    assert drawn(7) == first
    assert drawn(8) != first
    assert drawn(7, sequence=1) != first
    assert drawn(7 + 2**32, sequence=0) != drawn(7, sequence=1)  # as one number after the other they would be the same
    assert drawn(None) != drawn(None)


def test_the_stream_of_a_seed_is_fixed():
    """Tokens of a seed stay what they are from one version to the next."""
    assert drawn(7, steps=8) == [386, 65, 302, 469, 417, 22, 35, 435]


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": 50}, {"top_k": 0, "top_p": 0.9}], ids=str)
def test_rounding_changes_no_token(options):
    """Logits that differ by 1e-5, as those of another batch size may, give the same tokens."""
    assert drawn(3, steps=200, noise=1e-5, **options) == drawn(3, steps=200, **options)


def test_equal_scores_that_swap_change_no_token():
    """Two tokens whose scores are equal but for rounding are drawn by the same random numbers whichever is ahead."""
    for seed in range(50):
        one, other = np.zeros((2, 2), np.float32)
        one[0], other[1] = 1e-6, 1e-6
        settings = Settings(do_sample=True, seed=seed)
        assert Sampler(settings, [1]).next(one) == Sampler(settings, [1]).next(other)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    """20,000 draws stay within five standard deviations of the softmax of the scores."""
    logits = np.array([0.0, 2.0, -np.inf, 1.0, -1.0, 2.0], np.float32)
    sampler = Sampler(Settings(do_sample=True, seed=1, temperature=0.8, top_k=4), [1])
    probabilities = torch.from_numpy(sampler.scores(logits)).softmax(-1).double().numpy()
    count = 20_000
    drawn = np.bincount([sampler.next(logits) for _ in range(count)], minlength=len(logits))
    deviation = np.sqrt(count * probabilities * (1 - probabilities))
    assert (np.abs(drawn - count * probabilities) <= 5 * deviation).all()
    assert drawn[2] == drawn[4] == 0


def test_what_has_no_probability_is_never_drawn():
    """A token whose probability is 0 in float64 is not taken even by the smallest or largest random number."""
    logits = np.array([-2000.0, 0.0, -2000.0], np.float32)
    sampler = Sampler(Settings(do_sample=True, seed=0, top_k=0), [1])
    for raw in (0, 2**64 - 1):
        sampler._random = type("Random", (), {"random_raw": lambda self, raw=raw: raw})()
        assert sampler.next(logits) == 1


@pytest.mark.parametrize(
    ("logits", "message"),
    [([0.0, np.nan], "hold nan"), ([0.0, np.inf], "hold inf"), ([-np.inf, -np.inf], "no token is left")],
)
@pytest.mark.parametrize("do_sample", [False, True])
def test_broken_logits_are_an_error(logits, message, do_sample):
    """NaN, infinity and nothing at all end the request instead of giving a token that means nothing."""
    with pytest.raises(ValueError, match=message):
        Sampler(Settings(do_sample=do_sample), [1]).next(np.array(logits, np.float32))


def test_settings_that_leave_no_token_are_an_error():
    """With no_repeat_ngram_size 1 each token comes once; then none is left."""
    sampler = Sampler(Settings(no_repeat_ngram_size=1), [0])
    assert sampler.next(np.zeros(2, np.float32)) == 1
    with pytest.raises(ValueError, match="rule out all"):
        sampler.next(np.zeros(2, np.float32))
