"""The config for onnxruntime-genai says what the checkpoint says, and that runtime generates PyTorch's tokens."""

import json

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from hf2triton.export.genai_config import GENAI_CONFIG, genai_config
from hf2triton.families import FAMILIES
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.decoder import export_decoder

CONFIG = GPT2Config(
    n_layer=2, n_embd=32, n_head=4, vocab_size=101, n_positions=96, bos_token_id=7, eos_token_id=[100, 9]
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(2)
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 101, "n_positions": 96}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def test_sizes_and_names_are_the_graphs():
    """Sizes come from the checkpoint's config, names from the exported graph."""
    described = genai_config(CONFIG, GenerationConfig())["model"]
    assert described["type"] == "decoder"
    assert (described["context_length"], described["vocab_size"]) == (96, 101)
    decoder = described["decoder"]
    assert decoder["filename"] == "model.onnx"
    sizes = ("head_size", "hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    assert [decoder[size] for size in sizes] == [8, 32, 4, 4, 2]
    assert decoder["inputs"]["past_key_names"] % 1 == "past_key_values.1.key"
    assert decoder["outputs"]["present_value_names"] % 0 == "present.0.value"


def test_settings_are_the_generation_configs():
    """What the generation config sets is taken over, and what it leaves open is what transformers takes it for."""
    search = genai_config(CONFIG, GenerationConfig(do_sample=True, top_p=0.9, repetition_penalty=1.3))["search"]
    expected = {"do_sample": True, "top_p": 0.9, "repetition_penalty": 1.3, "top_k": 50, "temperature": 1.0}
    assert {name: search[name] for name in expected} == expected
    assert (search["num_beams"], search["min_length"], search["max_length"]) == (1, 0, 96)
    assert search["early_stopping"] is False
    assert genai_config(CONFIG, GenerationConfig(early_stopping="never"))["search"]["early_stopping"] is False


def test_tokens_are_the_generation_configs_or_else_the_configs():
    """Special tokens of the generation config win; a missing pad token is the first that ends a text, or 0."""

    def tokens(config, generation):
        described = genai_config(config, generation)["model"]
        return [described.get(f"{name}_token_id") for name in ("bos", "eos", "pad")]

    assert tokens(CONFIG, GenerationConfig()) == [7, [100, 9], 100]
    assert tokens(CONFIG, GenerationConfig(eos_token_id=5, pad_token_id=6)) == [7, 5, 6]
    without = GPT2Config(vocab_size=101, bos_token_id=None, eos_token_id=None)
    assert tokens(without, GenerationConfig()) == [None, None, 0]


def test_only_fused_attention_shares_its_buffer():
    """Standard attention makes a new present, which must not be the past."""
    share = [genai_config(CONFIG, GenerationConfig(), shares)["search"] for shares in (True, False)]
    assert [search["past_present_share_buffer"] for search in share] == [True, False]


@pytest.mark.parametrize("attention", ["fused", pytest.param("standard", marks=pytest.mark.slow)])
def test_onnxruntime_genai_generates_pytorchs_tokens(model, tmp_path, attention):
    """An independent runtime reads the folder as it is: 64 greedy tokens, or fewer where an end token comes."""
    pytest.importorskip("onnxruntime_genai")
    graph = export_decoder(model, FAMILIES["gpt2"].decoder, attention, OPSET)
    save_graph(fit(clean(graph), None).model, tmp_path / "model.onnx")
    for length in (1, 5, 30):
        prompt = np.random.default_rng(length).integers(10, 100, (1, length))
        free = generate(model, prompt, None)
        assert len(free) == length + 64
        ended = generate(model, prompt, [100, free[length + 9]])
        assert length < len(ended) <= length + 10
        for expected, ends in ((free, None), (ended[:-1], [100, ended[-1]])):  # it leaves the end token out
            described = genai_config(model.config, GenerationConfig(eos_token_id=ends), attention == "fused")
            (tmp_path / GENAI_CONFIG).write_text(json.dumps(described), "utf-8")
            assert generate_with_genai(tmp_path, prompt, length + 64) == expected


def generate(model, prompt, ends):
    """PyTorch's greedy sequence of 64 new tokens, or up to the first of `ends`."""
    ids = torch.from_numpy(prompt)
    settings = {"max_new_tokens": 64, "do_sample": False, "eos_token_id": ends, "pad_token_id": 0}
    return model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0].tolist()


def generate_with_genai(folder, prompt, length):
    import onnxruntime_genai as genai

    loaded = genai.Model(str(folder))
    parameters = genai.GeneratorParams(loaded)
    parameters.set_search_options(max_length=length)
    generator = genai.Generator(loaded, parameters)
    generator.append_tokens(prompt.astype(np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return generator.get_sequence(0).tolist()
