"""What cannot be calibrated with is refused: which file, and why."""

import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from hf2triton.errors import UsageError

from ...conftest import asset
from ...support import ASSETS
from .calibrating import (
    DECODER_INPUTS,
    PIXELS,
    STATE,
    TEXT_INPUTS,
    decoder_tensors,
    export,
    lines_in,
    load,
    saved,
    tensors,
)

IMAGES = Path(str(resources.files("hf2triton") / "data" / "images"))
SENTIMENT = ASSETS / "bert-sentiment"


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


TEXT, IMAGE, DECODER = (
    ("bert", "text-classification", TEXT_INPUTS),
    ("vit", "image-classification", PIXELS),
    ("gpt2", "text-generation", DECODER_INPUTS),
)


def as_file(content):
    return lambda path: path.write_bytes(content)


def as_tensors(arrays):
    return lambda path: np.savez(path, **arrays)


def cut_short(path):
    saved(path, tensors())
    path.write_bytes(path.read_bytes()[:-50])


def array_alone(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def image_folder(content, name="bad.png"):
    def make(path):
        path.mkdir()
        shutil.copy(IMAGES / "chelsea.jpg", path)
        (path / name).write_bytes(content)

    return make


WRONG = [
    pytest.param(TEXT, "own.txt", as_file(b""), "holds no text", id="empty"),
    pytest.param(TEXT, "own.txt", as_file(b"\n  \n\t\n"), "holds no text", id="blank"),
    pytest.param(TEXT, "own.txt", as_file("naïve".encode("utf-16")), "cannot be read as lines of text", id="not UTF-8"),
    pytest.param(IMAGE, "own", Path.mkdir, "holds no images (.bmp, .gif", id="no images"),
    pytest.param(IMAGE, "own", image_folder(b"not an image"), "bad.png", id="no image"),
    pytest.param(IMAGE, "own", image_folder((IMAGES / "grass.png").read_bytes()[:2000]), "bad.png", id="damaged image"),
    pytest.param(TEXT, "own.npz", as_file(b""), "cannot be read", id="npz empty"),
    pytest.param(TEXT, "own.npz", as_file(b"garbage"), "cannot be read", id="npz garbage"),
    pytest.param(TEXT, "own.npz", cut_short, "cannot be read", id="npz cut short"),
    pytest.param(TEXT, "own.npz", array_alone, "cannot be read", id="npy"),
    pytest.param(TEXT, "own.npz", as_tensors({"input_ids": np.array(["a", None])}), "cannot be read", id="objects"),
    pytest.param(
        TEXT,
        "own.npz",
        as_tensors(without(tensors(), "token_type_ids")),
        "holds attention_mask, input_ids; the graph takes attention_mask, input_ids, token_type_ids",
        id="a name missing",
    ),
    pytest.param(
        TEXT,
        "own.npz",
        as_tensors(tensors() | {"labels": np.ones(20)}),
        "holds attention_mask, input_ids, labels, token_type_ids; the graph takes",
        id="a name more",
    ),
    pytest.param(
        TEXT,
        "own.npz",
        as_tensors(tensors() | {"attention_mask": np.ones(20)}),
        "attention_mask in {path} has the shape [20]; the graph takes ['batch', 'sequence']",
        id="a dimension missing",
    ),
    pytest.param(
        TEXT,
        "own.npz",
        as_tensors(tensors() | {"attention_mask": np.ones((20, 8))}),
        "attention_mask",
        id="another length",
    ),
    pytest.param(
        TEXT, "own.npz", as_tensors(tensors() | {"attention_mask": np.ones((19, 9))}), "attention_mask", id="other rows"
    ),
    pytest.param(TEXT, "own.npz", as_tensors(tensors(rows=0)), "holds no rows", id="no rows"),
    pytest.param(
        IMAGE,
        "own.npz",
        as_tensors({"pixel_values": np.ones((2, 3, 32, 32))}),
        "pixel_values in {path} has the shape [2, 3, 32, 32]; the graph takes ['batch', 3, 28, 28]",
        id="another size",
    ),
    pytest.param(
        DECODER,
        "own.npz",
        as_tensors({name: array for name, array in decoder_tensors().items() if name not in STATE}),
        "past_key_values.0.value",
        id="no past",
    ),
    pytest.param(
        DECODER,
        "own.npz",
        as_tensors(decoder_tensors() | {"past_key_values.0.key": np.ones((3, 8, 2, 32))}),
        "past_key_values.0.key in {path} has the shape [3, 8, 2, 32]",
        id="other heads",
    ),
]


@pytest.mark.parametrize(("model", "name", "make", "message"), WRONG)
def test_what_cannot_be_used_is_refused(tmp_path, model, name, make, message):
    """Wrong usage, exit code 2, with the file and what is wrong with it."""
    family, task, inputs = model
    path = tmp_path / name
    make(path)
    with pytest.raises(UsageError) as raised:
        load(family, task, path, inputs)
    assert raised.value.exit_code == 2
    assert message.format(path=path) in str(raised.value)
    assert name in str(raised.value)


@pytest.mark.parametrize("task", [True, False], ids=["task named", "task inferred"])
@pytest.mark.parametrize(
    ("family", "name_of_task", "given", "message"),
    [
        ("bert", "text-classification", "nowhere.txt", "there is no calibration file or folder"),
        ("bert", "text-classification", ".", "takes a file with lines of text, or tensors as .npz"),
        ("vit", "image-classification", "own.txt", "takes a folder of images, or tensors as .npz"),
    ],
)
def test_the_wrong_kind_is_refused_at_once(tmp_path, family, name_of_task, given, message, task):
    """A path that is not there, a folder for texts and a text for images end the command before anything is exported."""
    lines_in(tmp_path / "own.txt", "It is a chair.")
    options = ("--task", name_of_task) if task else ()
    result = export(asset(family, name_of_task), tmp_path, "--calibration", tmp_path / given, *options)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert str(tmp_path / given) in result.stderr
    assert "export the graph" not in result.stderr


def test_a_file_that_turns_out_wrong_ends_the_command(tmp_path):
    """What is only found when it is read: one line, exit code 2."""
    (tmp_path / "own.txt").write_bytes(b"\xff\xfe")
    result = export(SENTIMENT, tmp_path, "--calibration", tmp_path / "own.txt")
    assert result.exit_code == 2
    assert "own.txt cannot be read as lines of text" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
