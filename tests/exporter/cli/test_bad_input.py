"""Whatever is wrong with what the user gave: one clear line, an exit code, and an unchanged repository."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from hf2triton.cli import main
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.families import FAMILIES

from ...conftest import asset, export_asset
from ...support import snapshot

SENTIMENT = asset("bert", "text-classification")


def export(source, repository, *options, name="model"):
    return CliRunner().invoke(main, ["export", str(source), "--name", name, "--repository", str(repository), *options])


def assert_refused(result, repository, before, message, exit_code=1):
    """The last line says what is wrong; stages that ran are only named, nothing is traced back."""
    assert result.exit_code == exit_code, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert message in last
    assert "Traceback" not in result.output
    assert snapshot(repository) == before


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of a trained checkpoint, to be broken."""
    return Path(shutil.copytree(SENTIMENT, tmp_path / "checkpoint"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A repository that already holds an entry named model."""
    repository = tmp_path_factory.mktemp("filled") / "model_repository"
    export_asset(repository, "bert", "text-classification", "fp16", name="model")
    return repository


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def pickle_only(folder):
    import torch

    torch.save(
        {name: torch.tensor(array) for name, array in load_file(folder / "model.safetensors").items()},
        folder / "pytorch_model.bin",
    )
    (folder / "model.safetensors").unlink()


def lose_head(folder):
    weights = {
        name: array for name, array in load_file(folder / "model.safetensors").items() if "classifier" not in name
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def lose_tokenizer(folder):
    for path in folder.glob("token*"):
        path.unlink()


def garble_weights(folder):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] = weights["classifier.weight"][:, :-1].copy()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def fill_with_nan(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: np.full_like(array, np.nan) for name, array in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (
            lambda folder: edit_config(folder, model_type="llama"),
            f"is a llama; supported are {', '.join(sorted(FAMILIES))}",
        ),
        (
            lambda folder: edit_config(folder, architectures=["BertForMultipleChoice"]),
            "BertForMultipleChoice, whose task",
        ),
        (lambda folder: truncate(folder / "model.safetensors", 5000), "is corrupt or was cut short"),
        (lambda folder: truncate(folder / "model.safetensors", 0), "is corrupt or was cut short"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
        (pickle_only, "--allow-pickle"),
        (lose_head, "would be random"),
        (garble_weights, "classifier.weight is [3, 63] in the file, and by config.json [3, 64]"),
        (lose_tokenizer, "has no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer in"),
    ],
)
def test_a_broken_checkpoint(checkpoint, filled, spoil, message):
    """A folder that is no checkpoint, or a damaged one, is refused with its file and the reason."""
    spoil(checkpoint)
    before = snapshot(filled)
    assert_refused(export(checkpoint, filled), filled, before, message)


def test_weights_that_answer_with_nan(checkpoint, filled):
    """A checkpoint whose own answers are NaN is parity's matter: exit code 3."""
    fill_with_nan(checkpoint)
    before = snapshot(filled)
    assert_refused(export(checkpoint, filled), filled, before, "PyTorch itself answers with NaN", exit_code=3)


def test_a_model_that_plain_fp16_breaks(checkpoint, filled, tmp_path):
    """Weights whose products overflow fp16 fail parity where the given plan keeps nothing in fp32: exit code 3, the report
    written, the repository unchanged."""
    weights = load_file(checkpoint / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.weight"] *= 1e6
    save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
    before = snapshot(filled)
    (tmp_path / "plain.json").write_text(json.dumps(PrecisionPlan("fp16").to_json()))
    options = ("--report", str(tmp_path / "report.json"), "--precision-plan", str(tmp_path / "plain.json"))
    result = export(checkpoint, filled, *options)
    assert_refused(result, filled, before, "the exported model is not the trained one", exit_code=3)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["parity"]["passed"] is False
    assert export(checkpoint, tmp_path / "fp32", "--precision", "fp32").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "summarization"], "task 'summarization' is unknown; known are feature-extraction"),
        (["--task", "image-classification"], "bert models do not serve image-classification; they serve text-"),
        (["--release", "19.01"], "release '19.01' is unknown; known are 23.12–24.02"),
        (["--max-batch-size", "0"], "largest batch must be 1 or more"),
        (["--device", "cuda", "--runner", "inprocess"], "--device cuda runs with --runner bls"),
    ],
)
def test_a_wrong_option(filled, options, message):
    """A value that is not in its table is refused, with those that are."""
    before = snapshot(filled)
    assert_refused(export(SENTIMENT, filled, *options), filled, before, message, exit_code=2)


@pytest.mark.parametrize("name", ["", "a/b", "../up", ".hidden", "ü", "a b", "x" * 129, "graph_model"])
def test_a_name_that_is_not_valid(filled, name):
    """Names that Triton, a url or the file system would not take are refused."""
    before = snapshot(filled)
    assert_refused(export(SENTIMENT, filled, name=name), filled, before, repr(name), exit_code=2)


def test_a_tokenizer_whose_words_cannot_be_joined(tmp_path, filled):
    """Entities are joined from tokens; a tokenizer whose decoder clients do not have is refused for this task, not for others."""
    folder = Path(shutil.copytree(asset("bert", "token-classification"), tmp_path / "ner"))
    definition = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(definition | {"decoder": {"type": "Fuse"}}))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}'
    )
    before = snapshot(filled)
    assert_refused(export(folder, filled), filled, before, "decoder of the type Fuse")


def test_a_task_without_a_head(filled):
    """A sentiment checkpoint cannot tag tokens: its head for that would be random."""
    before = snapshot(filled)
    result = export(SENTIMENT, filled, "--task", "ner")
    assert_refused(result, filled, before, "was trained for text-classification (BertForSequenceClassification)")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere/at/all", "there is no folder /nowhere/at/all"),
        ("./missing", "there is no folder ./missing"),
        ("some-org/some-model", "is not in the hub's cache"),
        ("not a hub id!", "neither a folder nor a hub id"),
        (SENTIMENT / "config.json", "is a file"),
    ],
)
def test_a_source_that_is_not_there(filled, source, message):
    """A folder that does not exist, a hub id that cannot be had and a file are told apart."""
    before = snapshot(filled)
    assert_refused(export(source, filled), filled, before, message)


def test_a_repository_that_is_a_file(tmp_path):
    """A file in the repository's place is refused before anything is loaded, and stays as it was."""
    (tmp_path / "repository").write_text("mine")
    result = export(SENTIMENT, tmp_path / "repository")
    assert result.exit_code == 1
    assert "is a file" in result.stderr
    assert (tmp_path / "repository").read_text() == "mine"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB: a tmpfs, where it may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs privileges; the same path is tested with a limit on file sizes")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(small_disk):
    """A full disk is named as such, and nothing is left behind."""
    result = export(SENTIMENT, small_disk / "repository")
    assert_refused(result, small_disk, {}, "the disk is full")


def test_a_repository_that_is_read_only(small_disk):
    """A read-only file system is found before anything is loaded."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    result = export(SENTIMENT, small_disk / "repository")
    assert_refused(result, small_disk, {}, "Read-only file system")


@pytest.mark.slow
def test_files_that_may_not_grow(filled):
    """A limit on file sizes (as a quota would) ends as a full disk does, with an existing entry left as it was."""
    before = snapshot(filled)
    command = f"ulimit -f 300; exec hf2triton export {SENTIMENT} --name model --repository {filled}"
    environment = os.environ | {"PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}", "TMPDIR": "/dev/shm"}
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "File too large" in result.stderr or "a file would be too large" in result.stderr
    assert snapshot(filled) == before
