"""The command line: what it prints, what it exits with, and what it needs."""

import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hf2triton import __version__
from hf2triton.cli import main

from ...conftest import asset, entry_name

NAME = entry_name("bert", "text-classification", "fp16")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_export_says_what_it_did_and_writes_a_report(tmp_path):
    """Stages go to stderr with the time of day; the report on stdout is a table and one line; the whole of it is JSON."""
    report = tmp_path / "report.json"
    source = asset("distilbert", "text-classification")
    result = run("export", source, "--name", "s", "--repository", tmp_path / "r", "--report", report)
    assert result.exit_code == 0, result.output
    title, columns, frontend, summary = result.stdout.strip().splitlines()
    assert title == "distilbert text-classification, compared with PyTorch in fp32"
    assert re.split(r"  +", columns) == [
        *("frontend", "precision", "fp32 nodes", "largest difference", "agreement", "MB in fp32", "MB")
    ]
    assert re.match(r"s +fp16 +0 of \d+ +0\.00\d+ +100\.0% +1\.1 +0\.5$", frontend)
    assert re.match(r"s: version 1 in .*, \d+ s, \d\.\d\d GB at its peak$", summary)
    assert all(re.match(r"\d\d:\d\d:\d\d \w", line) for line in result.stderr.strip().splitlines())
    assert "\x1b" not in result.output
    written = json.loads(report.read_text())
    assert written["manifests"]["s"]["parity"]["passed"] is True
    assert sum(written["seconds"].values()) > 0
    assert written["ranges"]["s"]["distilbert.embeddings.LayerNorm/LayerNormalization"]["peak"] > 0


def test_a_dry_run_writes_nothing(tmp_path):
    """--dry-run proves the model and leaves no repository."""
    result = run(
        "export", asset("bert", "text-classification"), "--name", "s", "--repository", tmp_path / "r", "--dry-run"
    )
    assert result.exit_code == 0
    assert "not written (dry run)" in result.stdout
    assert not (tmp_path / "r").exists()


def test_validate_proves_the_live_endpoint(server, repository, tmp_path):
    """A served model is compared with the baseline of its entry, and with one given by path."""
    report = tmp_path / "report.json"
    result = run("validate", NAME, "--url", server.url, "--repository", repository, "--report", report)
    assert result.exit_code == 0, result.output
    assert "in reverse order" in result.stdout
    assert json.loads(report.read_text())["passed"] is True
    path = repository / NAME / "1" / "baseline.safetensors"
    assert run("validate", NAME, "--url", server.url, "--baseline", path).exit_code == 0
    clip = entry_name("clip", "zero-shot-image-classification", "fp16")
    both = run("validate", clip, "--url", server.url, "--repository", repository, "--report", report)
    assert both.exit_code == 0, both.output
    served = {own["model"] for own in json.loads(report.read_text())["validations"]}
    assert served == {f"{clip}_text", f"{clip}_image"}


def test_validate_exits_3_when_the_answers_differ(server, repository, tmp_path):
    """A baseline with other answers is a breach: exit code 3, and the check is named."""
    from dataclasses import replace

    from hf2triton_client.evaluation.baseline import Baseline

    recorded = Baseline.load(repository / NAME / "1" / "baseline.safetensors")
    wrong = {output: tuple(array + 1 for array in arrays) for output, arrays in recorded.answers.items()}
    replace(recorded, answers=wrong).save(tmp_path / "wrong.safetensors")
    result = run("validate", NAME, "--url", server.url, "--baseline", tmp_path / "wrong.safetensors")
    assert result.exit_code == 3
    assert "largest difference" in result.stdout


def test_validate_refuses_another_models_baseline(server, repository):
    """A baseline of another task or version proves nothing and is refused."""
    other = repository / entry_name("bert", "token-classification", "fp16") / "1" / "baseline.safetensors"
    result = run("validate", NAME, "--url", server.url, "--baseline", other)
    assert result.exit_code == 1
    assert "its task is token-classification, the model's text-classification" in result.stderr
    assert "no entry 'nope' (known: " in run("validate", "nope", "--repository", repository).stderr


def test_infer_prints_json(server):
    """One call from the shell, answered as JSON."""
    result = run("infer", NAME, "What a day", "Terrible", "--url", server.url)
    assert [set(answer) for answer in json.loads(result.stdout)] == [{"label", "score"}] * 2
    similarity = run("infer", entry_name("bert", "sentence-similarity", "fp32"), "a", "a", "b", "--url", server.url)
    assert json.loads(similarity.stdout)[0] == pytest.approx(1, abs=1e-4)
    entities = run(
        "infer", entry_name("bert", "token-classification", "fp32"), "Ann lives in Rome", "--url", server.url
    )
    assert isinstance(json.loads(entities.stdout)[0], list)


def test_infer_takes_what_each_task_needs(server):
    """Questions and contexts in turn, candidate labels, and paths of images."""
    answer = run(
        "infer", entry_name("bert", "question-answering", "fp32"), "Who?", "Ann Lee lives here.", "--url", server.url
    )
    assert set(json.loads(answer.stdout)) == {"score", "start", "end", "answer"}
    odd = run("infer", entry_name("bert", "question-answering", "fp32"), "Who?", "--url", server.url)
    assert (odd.exit_code, "the last question has no context" in odd.stderr) == (2, True)
    image = asset("clip", "zero-shot-image-classification") / "README.md"
    name = entry_name("clip", "zero-shot-image-classification", "fp32")
    refused = run("infer", name, image, "--labels", "bag,coat", "--url", server.url)
    assert (refused.exit_code, "not an image" in refused.stderr) == (2, True)
    image = next((asset("vit", "image-classification") / "sample").iterdir())
    answer = run("infer", name, image, "--labels", "bag,coat", "--url", server.url)
    assert {entry["label"] for entry in json.loads(answer.stdout)[0]} == {"bag", "coat"}


def test_list_shows_the_entries(repository):
    """Names, versions, tasks and precisions of a repository."""
    result = run("list", "--repository", repository)
    assert re.search(rf"{NAME} +1 +text-classification +fp16", result.stdout)


def test_help_and_version():
    """Every command explains itself."""
    assert __version__ in run("--version").stdout
    for name in main.commands:
        assert run(name, "--help").exit_code == 0


@pytest.mark.parametrize(
    "arguments", [["export"], ["export", "x"], ["nope"], ["export", "x", "--name", "y", "--precision", "int3"]]
)
def test_wrong_usage_exits_2(arguments):
    """Missing arguments and unknown choices are usage errors."""
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["export", "build", "serve"])
def test_a_missing_extra_is_named(tmp_path, command):
    """Where only the base install is there, the command says which extra to install."""
    (tmp_path / "m").mkdir()
    blocked = ("torch", "psutil", "onnxruntime", "transformers", "onnx", "onnx_ir", "optimum", "tokenizers", "yaml")
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
from hf2triton.cli import main
main()
"""
    extra = {"export": ["x", "--name", "y"], "build": ["x.yaml"], "serve": []}[command]
    arguments = [command, *extra, "--repository", str(tmp_path / "m")]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    assert "pip install 'hf2triton[" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unreachable_server_is_one_line():
    """No traceback, exit code 1."""
    environment = os.environ | {"COLUMNS": "200"}
    command = [sys.executable, "-m", "hf2triton", "infer", "m", "text", "--url", "127.0.0.1:1"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("hf2triton: no Triton server answers at 127.0.0.1:1")
    assert len(result.stderr.strip().splitlines()) == 1
