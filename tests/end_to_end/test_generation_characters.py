"""Streams of characters whose bytes are tokens of their own, from a decoder that is made to write them."""

import json
import shutil

import pytest
from transformers import AutoTokenizer

from hf2triton.serving import Server

from .generation_calls import FP32, Stream
from .generation_reference import CHECKPOINT, PROMPTS, pytorch

#: Of two, three and four bytes. The checkpoint has read none of them and would hardly ever write one.
CHARACTERS = "é東😀"
LENGTH = len(CHARACTERS.encode())


@pytest.fixture(scope="module")
def prompt():
    """One after which PyTorch writes so many different tokens, none of which is in the prompt."""
    for text in PROMPTS:
        new = set(pytorch().generate(text, max_new_tokens=LENGTH))
        if len(new - set(pytorch().ids(text))) == LENGTH:
            return text
    raise AssertionError("no such prompt")


@pytest.fixture(scope="module")
def tokenizer(prompt, tmp_path_factory):
    """The checkpoint's own, but the bytes of CHARACTERS have the ids of the tokens that are written after the prompt, and the
    other way round."""
    folder = tmp_path_factory.mktemp("relabelled") / "tokenizer"
    shutil.copytree(CHECKPOINT, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    file = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = file["model"]["vocab"]
    bytes_of_them = pytorch().tokenizer.tokenize(CHARACTERS)
    written = pytorch().tokenizer.convert_ids_to_tokens(pytorch().generate(prompt, max_new_tokens=LENGTH))
    for one, other in zip(bytes_of_them, written, strict=True):
        vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (folder / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def relabelled(repository, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relabelled") / "model_repository"
    shutil.copytree(repository / FP32, folder / FP32)
    shutil.copy(f"{tokenizer.name_or_path}/tokenizer.json", folder / FP32 / "1" / "tokenizer.json")
    with Server(folder) as running:
        yield running


@pytest.mark.parametrize("count", range(1, LENGTH + 1))
def test_a_character_is_given_with_its_last_byte(relabelled, tokenizer, prompt, count):
    """Texts that end within a character or after it: what is complete is given, the rest is U+FFFD, and pieces join to that."""
    text = CHARACTERS.encode()[:count].decode(errors="replace")
    with Stream(relabelled) as stream:
        for streamed in (True, False):
            reply = stream.ask(FP32, prompt, stream=streamed, max_new_tokens=count)
            assert reply.texts == [tokenizer.decode(reply.token_ids[0])] == [text]


def test_characters_that_are_whole_and_broken(relabelled, tokenizer, prompt):
    """Where their bytes are drawn among other tokens, some make characters and some do not."""
    settings = {"do_sample": True, "temperature": 0.7, "max_new_tokens": 100, "ignore_eos": True}
    with Stream(relabelled) as stream:
        requests = [stream.send(FP32, prompt, seed=seed, **settings) for seed in range(16)]
        replies = [stream.read(request) for request in requests]
    for reply in replies:
        assert reply.texts == [tokenizer.decode(reply.token_ids[0], skip_special_tokens=True)]
        assert len(reply.pieces) > 1
    text = "".join(reply.texts[0] for reply in replies)
    assert set(CHARACTERS) & set(text)
    assert "\ufffd" in text


def test_a_character_stops_a_text(relabelled, prompt):
    """Stop strings of a character and of the end of one token and a character after it are met with the last byte."""
    with Stream(relabelled) as stream:
        for stop, before in (("😀", "é東"), ("東😀", "é")):
            reply = stream.ask(FP32, prompt, stop=stop, max_new_tokens=20)
            assert (reply.texts, reply.reasons, reply.counts) == ([before], ["stop"], [LENGTH])
