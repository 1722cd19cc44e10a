"""onnxruntime-genai, which knows nothing of this project, runs an entry's folder as it is."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from ..conftest import asset, entry_name
from ..support import sample_of

NEW = 64


@pytest.fixture(scope="module")
def expected():
    """PyTorch's greedy tokens after three prompts: text -> (tokens of the prompt, new tokens)."""
    folder = asset("gpt2", "text-generation")
    model, tokenizer = GPT2LMHeadModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = {}
    for row in sample_of(folder)[:3]:
        ids = tokenizer(row["prompt"], return_tensors="pt")["input_ids"]
        settings = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
        sequence = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0].tolist()
        texts[row["prompt"]] = sequence[: ids.shape[1]], sequence[ids.shape[1] :]
    return texts


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_another_runtime_generates_the_same(repository, expected, precision):
    """Its own tokenizer reads the prompt alike, and its greedy tokens are PyTorch's, in fp32 all of them."""
    genai = pytest.importorskip("onnxruntime_genai")
    loaded = genai.Model(str(repository / entry_name("gpt2", "text-generation", precision) / "1"))
    tokenizer = genai.Tokenizer(loaded)
    for text, (prompt, new) in expected.items():
        ids = tokenizer.encode(text)
        assert ids.tolist() == prompt
        parameters = genai.GeneratorParams(loaded)
        parameters.set_search_options(max_length=len(prompt) + NEW, do_sample=False)
        generator = genai.Generator(loaded, parameters)
        generator.append_tokens(np.array(ids, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        given = generator.get_sequence(0).tolist()[len(prompt) :]
        ended = [*given, new[-1]] if len(given) < len(new) else given  # it leaves the end token out
        if precision == "fp32":
            assert ended == new
        else:
            assert given[:1] == new[:1]
