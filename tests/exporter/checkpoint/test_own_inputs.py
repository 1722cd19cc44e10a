"""Parity asks about what the checkpoint itself brings, in the forms that callers type, and reads it as transformers does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.own_inputs import own_inputs
from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.checkpoint.source import find_source
from hf2triton.errors import ParityError
from hf2triton.parity.baseline import record_baseline
from hf2triton.parity.decoder_baseline import record_texts
from hf2triton_client.evaluation.baseline import Baseline

from ...checkpoints.case import saved
from ...conftest import asset

NER = asset("bert", "token-classification")


def load(folder, task=None):
    return load_checkpoint(find_source(str(folder)), task)


def with_tokens(
    tmp_path: Path, *tokens, folder: Path = NER, auto_class: str = "AutoModelForTokenClassification"
) -> Path:
    """A copy of a checkpoint with more tokens."""

    def change(model, tokenizer):
        tokenizer.add_tokens(list(tokens))
        model.resize_token_embeddings(len(tokenizer))

    copy = Path(shutil.copytree(folder, tmp_path / "checkpoint"))
    saved(change, auto_class)(copy)
    return copy


def groups_of(checkpoint):
    [endpoint] = checkpoint.task.endpoints
    return own_inputs(checkpoint, endpoint, preprocessor_of(checkpoint, endpoint))


def test_every_added_token_is_asked_in_every_form(tmp_path):
    """First, beside words, within one, doubled, last: also for hundreds of tokens, none of which is cut off."""
    tokens = [f"<{index}>" for index in range(150)]
    checkpoint = load(with_tokens(tmp_path, *tokens))
    [endpoint] = checkpoint.task.endpoints
    preprocessor = preprocessor_of(checkpoint, endpoint)
    texts = groups_of(checkpoint)["texts of its own"]["text"]
    read = {token for text in texts for token in preprocessor.tokenizer.encode(text).tokens}
    assert read >= {*tokens, "[MASK]"}
    assert all(len(preprocessor.encoder.encode([text])[0].overflowing) == 0 for text in texts)
    for form in ("<0> Maria", "went<0>to", "<0><0>", "Paris <0>", "a<149> <149><149>"):
        assert any(form in text for text in texts)


def test_pairs_are_asked_wherever_the_frontend_takes_them():
    """Both short, one long, both long; questions and masks have pairs and masks of their own."""
    pairs = groups_of(load(NER))["pairs"]
    longer = [(len(text) > 1000, len(other) > 1000) for text, other in zip(*pairs.values(), strict=True)]
    assert {(False, False), (True, False), (False, True), (True, True)} <= set(longer)
    questions = groups_of(load(asset("bert", "question-answering")))
    assert [set(inputs) for inputs in questions.values()] == [{"text", "text_pair"}]
    masked = groups_of(load(asset("bert", "fill-mask")))
    assert all("[MASK]" in text for inputs in masked.values() for text in inputs["text"])


def test_labels_are_asked():
    """As one text, beside the tokens."""
    assert any("B-PER" in text for text in groups_of(load(NER))["texts of its own"]["text"])


def test_a_baseline_keeps_its_groups(tmp_path):
    """What is written is read again: inputs of each group, with PyTorch's answers, and which questions are about them."""
    checkpoint = load(with_tokens(tmp_path, "<user>"))
    [endpoint] = checkpoint.task.endpoints
    recorded = record_baseline(checkpoint, endpoint, "fp32")
    recorded.save(tmp_path / "baseline.safetensors")
    read = Baseline.load(tmp_path / "baseline.safetensors")
    assert [group.about for group in read.groups] == ["real inputs", "texts of its own", "pairs"]
    for written, again in zip(recorded.groups, read.groups, strict=True):
        assert dict(again.inputs) == dict(written.inputs)
        for one, other in zip(written.answers["logits"], again.answers["logits"], strict=True):
            assert (one == other).all()
    asked = [text for group in read.groups if "text_pair" not in group.inputs for text in group.inputs["text"]]
    assert list(read.questions.inputs) == asked


@pytest.mark.parametrize("generates", [False, True])
def test_a_token_that_is_read_otherwise_is_named(tmp_path, generates):
    """A tokenizer that takes no space away beside a token, where transformers' does, is found with the text."""
    from tokenizers import AddedToken

    token = AddedToken("<user>", lstrip=True, rstrip=True)
    name = ("gpt2", "text-generation") if generates else ("bert", "token-classification")
    auto_class = "AutoModelForCausalLM" if generates else "AutoModelForTokenClassification"
    checkpoint = load(with_tokens(tmp_path, token, folder=asset(*name), auto_class=auto_class))
    definition = json.loads(checkpoint.tokenizer.definition)
    changed = [own for own in definition["added_tokens"] if own["content"] == "<user>"]
    changed[0]["lstrip"] = changed[0]["rstrip"] = False
    other = replace(checkpoint, tokenizer=replace(checkpoint.tokenizer, definition=json.dumps(definition)))
    [endpoint] = checkpoint.task.endpoints
    record = record_texts if generates else record_baseline
    if generates:  # BERT's pre-tokenizer drops spaces anyway
        with pytest.raises(ParityError, match=r"otherwise than transformers: from token .*'<user>'"):
            record(other, endpoint, "fp32")
    changed[0]["content"] = "<users>"
    other = replace(checkpoint, tokenizer=replace(checkpoint.tokenizer, definition=json.dumps(definition)))
    with pytest.raises(ParityError, match="otherwise than transformers"):
        record(other, endpoint, "fp32")
