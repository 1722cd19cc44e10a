"""Inputs are bounded in bytes, pixels, tokens and items: what is beyond is refused, with the limit, before any work is done."""

import io
import json
import struct
import zlib

import numpy as np
import pytest

from hf2triton.parity.local_runner import LocalModel, LocalTexts
from hf2triton.triton_models.fill_mask import MAX_TARGET_LENGTH, MAX_TARGETS, FillMaskParameters
from hf2triton.triton_models.generation.settings import MAX_STOP_LENGTH, MAX_STOPS, Settings
from hf2triton.triton_models.parameters import MAX_PARAMETERS_LENGTH
from hf2triton.triton_models.preprocessors import make_preprocessor
from hf2triton.triton_models.question_answering import QuestionParameters as QuestionParameters


def preprocessor_of(folder):
    settings = json.loads((folder / "front.json").read_text())
    tokenizer = folder / "tokenizer.json"
    return settings["reader"], make_preprocessor(
        settings["reader"], tokenizer.read_text() if tokenizer.exists() else None
    )


def strings(*values):
    return np.array(values, np.object_)


@pytest.mark.parametrize("name", ["text", "text_pair"])
def test_long_texts_are_refused_before_they_are_tokenised(assorted, name):
    """By their bytes, not their characters; a text of just the limit is cut to the model's tokens."""
    settings, preprocessor = preprocessor_of(assorted / "plain" / "1")
    most = settings["max_bytes"]
    texts = {"text": strings(b"ok"), "text_pair": strings(b"ok"), name: strings("é".encode() * (most // 2) + b"!")}
    with pytest.raises(ValueError, match=f"{name} 0 has 1,048,577 bytes; at most 1,048,576 are taken"):
        preprocessor.values(texts)
    values = preprocessor.values({"text": strings(b"a " * (most // 2))})
    [item] = preprocessor.items(values, set())
    assert len(item.rows[0]) == settings["max_length"]


def png_of(width, height):
    """A PNG whose header says a size, whatever it holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_large_images_are_refused_before_they_are_decoded(assorted):
    """By bytes, and by the pixels that their header tells: a small file can hold a very large image. The others are read."""
    from PIL import Image

    settings, preprocessor = preprocessor_of(assorted / "trt" / "1")
    small = io.BytesIO()
    Image.new("RGB", (40, 30)).save(small, "PNG")
    images = strings(bytes(settings["max_bytes"] + 1), png_of(100_000, 100_000), small.getvalue())
    heavy, bomb, right = preprocessor.items(preprocessor.values({"image": images}), set())
    assert str(heavy) == "the image has 33,554,433 bytes; at most 33,554,432 are taken"
    assert "10,000,000,000 in all; at most 67,108,864 are taken" in str(bomb)
    assert right.rows[0].shape == (3, 28, 28)


@pytest.mark.parametrize("parse", [FillMaskParameters.parse, QuestionParameters.parse, Settings.parse])
def test_long_parameters_are_refused_before_they_are_read(parse):
    """Of every kind of frontend that takes any."""
    most = MAX_PARAMETERS_LENGTH
    assert parse(" " * (most - 2) + "{}") == parse("{}")
    with pytest.raises(ValueError, match="the parameters have 131,073 characters; at most 131,072 are taken"):
        parse(" " * (most - 1) + "{}")
    with pytest.raises(ValueError, match="not JSON"):
        parse("[" * (most - 1))


def test_targets_are_bounded():
    """Their number, and the length of each."""
    most = ["a"] * MAX_TARGETS
    assert len(FillMaskParameters.parse(json.dumps({"targets": most})).targets) == MAX_TARGETS
    for targets in ([*most, "a"], ["a" * (MAX_TARGET_LENGTH + 1)], "a" * (MAX_TARGET_LENGTH + 1)):
        with pytest.raises(
            ValueError, match=r"targets must be a string or a list .* up to 4096 of them with up to 256"
        ):
            FillMaskParameters.parse(json.dumps({"targets": targets}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stop": ["a"] * (MAX_STOPS + 1)}, "stop must be a text or a list of up to 16 texts"),
        ({"stop": "a" * (MAX_STOP_LENGTH + 1)}, "each of 1 to 256 characters"),
        ({"num_return_sequences": 65, "do_sample": True}, "num_return_sequences must be an integer from 1 to 64"),
        ({"seed": 2**64}, "seed must be an integer from 0 to"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1"),
    ],
)
def test_what_one_request_takes_of_an_engine_is_bounded(given, message):
    """Stop strings, sequences, seeds."""
    with pytest.raises(ValueError, match=message):
        Settings.parse(json.dumps(given))


def test_generated_tokens_are_bounded_by_the_context(assorted):
    """More than the model takes, with the prompt, is refused; so is a prompt that fills it."""
    ask = LocalTexts(assorted / "verses" / "1")
    with pytest.raises(
        ValueError, match=r"max_new_tokens must be an integer from 1 to \d+ for this prompt, not 1000000"
    ):
        ask({"text_input": "The sun", "sampling_parameters": '{"max_new_tokens": 1000000}'})
    with pytest.raises(ValueError, match="the prompt is too long"):
        ask({"text_input": "the sun " * 1000, "sampling_parameters": "{}"})
    answer = ask(
        {"text_input": "the sun " * 1000, "sampling_parameters": '{"truncate_prompt": true, "max_new_tokens": 2}'}
    )
    assert answer.counts[0] <= 2


def test_an_item_is_cut_to_the_tokens_of_the_model(assorted):
    """Whatever a caller sends, the graph sees no more."""
    model = LocalModel(assorted / "plain" / "1")
    [[logits]] = model({"text": "word " * 5000})
    assert logits.shape == (1, 3)


def test_clients_are_told_the_limits(assorted):
    """Those that the fronts have, by the same names."""
    from hf2triton.lint.models import Model

    told = {name: Model(assorted, name).settings for name in ("plain", "trt", "verses")}
    assert (told["plain"]["max_bytes"], told["plain"]["max_length"]) == (1 << 20, 128)
    assert (told["trt"]["max_bytes"], told["trt"]["max_pixels"]) == (1 << 25, 1 << 26)
    assert (told["verses"]["max_bytes"], told["verses"]["max_length"]) == (1 << 20, 256)
