"""`hf2triton validate` and `hf2triton baseline` on trained checkpoints, through the real server."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken

from hf2triton.cli import main
from hf2triton.core.layout import baseline_path
from hf2triton.core.options import ExportOptions
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton_client import connect
from hf2triton_client.errors import BaselineError
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.validate import validate

from ..checkpoints.case import saved
from ..conftest import asset, entry_name
from ..support import ASSETS

#: (family, task) -> the metric of its sample that is looked at; the others have no labels.
SCORED = {
    ("bert", "text-classification"): "accuracy",
    ("bert", "zero-shot-classification"): "macro F1",
    ("bert", "token-classification"): "entity F1",
    ("bert", "question-answering"): "exact match",
    ("distilbert", "fill-mask"): "top-5 accuracy",
    ("gpt2", "text-generation"): "perplexity",
    ("vit", "image-classification"): "accuracy",
    ("clip", "zero-shot-image-classification"): "top-5 accuracy",
}
#: What the samples call their columns, where that is something else.
COLUMNS = {"text-generation": ["--column", "text=verse"]}


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def sample(family: str, task: str) -> list[object]:
    """The options that name a checkpoint's labelled sample."""
    return ["--dataset", asset(family, task) / "sample.jsonl", *COLUMNS.get(task, [])]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with PyTorch's answers to the sample of each task."""
    folder = tmp_path_factory.mktemp("recorded")
    for family, task in SCORED:
        output = folder / f"{task}.safetensors"
        result = run("baseline", asset(family, task), "--task", task, "-o", output, *sample(family, task))
        assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("family", "task"), SCORED)
def test_a_recorded_sample_proves_models_of_any_precision(server, recorded, tmp_path, family, task, precision):
    """One recording serves all precisions; the served model is as right as PyTorch, and exactly so in fp32."""
    report = tmp_path / "report.json"
    name = entry_name(family, task, precision)
    baseline = recorded / f"{task}.safetensors"
    result = run("validate", name, "--url", server.url, "--baseline", baseline, "--report", report)
    assert result.exit_code == 0, result.output
    last = json.loads(report.read_text())["validations"][-1]
    score = next(score for score in last["scores"] if score["name"] == SCORED[family, task])
    assert score["rows"] == 60
    if precision == "fp32":
        assert score["served"] == pytest.approx(score["pytorch"], rel=1e-4)
    assert last["precision"] == precision
    assert SCORED[family, task] in result.stdout
    assert f"{name}: all " in result.stdout.strip().splitlines()[-1]


def test_scores_without_pytorchs_are_not_compared(server, repository, tmp_path):
    """Labelled rows that PyTorch was never asked about give scores, but no check that passed."""
    report, name = tmp_path / "report.json", entry_name("bert", "text-classification", "fp16")
    own = ["--url", server.url, "--repository", repository]
    alone = run("validate", name, *own)
    result = run("validate", name, *own, *sample("bert", "text-classification"), "--report", report)
    assert (alone.exit_code, result.exit_code) == (0, 0), result.output
    count = re.search(r"all (\d+) checks passed$", alone.stdout.strip())[1]
    last = result.stdout.strip().splitlines()[-1]
    assert f"all {count} checks passed; 2 scores not compared" in last
    assert re.search(r"accuracy +60 +0\.\d+ +– +– +not compared", result.stdout)
    [written] = json.loads(report.read_text())["validations"]
    assert (written["passed"], [score["passed"] for score in written["scores"]]) == (True, [None, None])


def test_pytorch_itself_may_be_asked(server):
    """--source runs the checkpoint here and now, on labelled data as well."""
    name = entry_name("bert", "text-classification", "fp16")
    options = ["--url", server.url, "--source", asset("bert", "text-classification")]
    result = run("validate", name, *options, *sample("bert", "text-classification"))
    assert result.exit_code == 0, result.output
    assert re.search(r"accuracy +60 +0\.68\d+ +0\.68", result.stdout)


def test_another_model_is_found_out(server, tmp_path):
    """A checkpoint that was trained further than the served one fails with exit code 3, and says in which checks."""
    folder = shutil.copytree(asset("bert", "text-classification"), tmp_path / "further")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + np.array([0.2, -0.2, 0.0], np.float32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    name = entry_name("bert", "text-classification", "fp16")
    result = run("validate", name, "--url", server.url, "--source", folder, *sample("bert", "text-classification"))
    assert result.exit_code == 3, result.output
    assert "largest difference 0.2" in result.output
    assert "largest difference of scores" in result.output
    assert f"{name} at {server.url}: not PyTorch's answers" in result.output


def test_labels_that_were_mixed_up_are_found_out(server, repository):
    """Where tensors are right and the names of labels are not, the decoded answers tell."""
    name = entry_name("bert", "text-classification", "fp16")
    baseline = Baseline.load(baseline_path(repository, name))
    swapped = {"NEGATIVE": "POSITIVE", "POSITIVE": "NEGATIVE"}
    wrong = tuple(
        [{**entry, "label": swapped.get(entry["label"], entry["label"])} for entry in answer]
        for answer in baseline.questions.answers
    )
    with connect(server.url) as connection:
        found = validate(connection, name, replace(baseline, questions=replace(baseline.questions, answers=wrong)))
    failed = {check.name for check in found.checks if not check.passed}
    assert failed == {"answers, as a pipeline gives them"}


def test_a_model_that_is_less_right_fails(server, recorded):
    """A score that is worse than PyTorch's by more than a row fails, whatever the tensors say."""
    name = entry_name("bert", "text-classification", "fp16")
    baseline = Baseline.load(recorded / "text-classification.safetensors")
    answers = baseline.questions.answers
    best, second = (tuple(answer[place]["label"] for answer in answers) for place in (0, 1))
    with connect(server.url) as connection:
        right = replace(baseline, questions=replace(baseline.questions, labels=best))
        assert validate(connection, name, right).passed
        # a PyTorch that had the second label first, and was right with it
        others = tuple(
            [{**answer[0], "label": answer[1]["label"]}, {**answer[1], "label": answer[0]["label"]}, *answer[2:]]
            for answer in answers
        )
        wrong = replace(baseline, questions=replace(baseline.questions, answers=others, labels=second))
        found = validate(connection, name, wrong)
    accuracy = next(score for score in found.scores if score.name == "accuracy")
    assert (accuracy.served, accuracy.pytorch, accuracy.passed) == (0.0, 1.0, False)
    assert not found.passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline", "a.safetensors", "--source", "b"], "exclude each other"),
        (["--adapter", "a"], "give that as well"),
        (["--dataset", "nowhere.jsonl"], "there is no file or folder nowhere.jsonl"),
        (["--column", "text"], "should read NAME=COLUMN"),
    ],
)
def test_options_that_make_no_sense(server, repository, options, message):
    """Wrong usage is exit code 2, with the reason."""
    name = entry_name("bert", "text-classification", "fp16")
    result = run("validate", name, "--url", server.url, "--repository", repository, *options)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_a_baseline_of_another_model_is_refused(server, recorded):
    """What was recorded for another task is not compared with."""
    name = entry_name("bert", "text-classification", "fp16")
    with connect(server.url) as connection, pytest.raises(BaselineError, match="its task is fill-mask"):
        validate(connection, name, Baseline.load(recorded / "fill-mask.safetensors"))


@pytest.fixture(scope="module")
def with_a_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model that finds names, whose tokenizer has a token more."""

    def change(model, tokenizer):
        tokenizer.add_tokens([AddedToken("<user>", lstrip=True, rstrip=True)])
        model.resize_token_embeddings(len(tokenizer))

    folder = tmp_path_factory.mktemp("with_a_token")
    checkpoint = Path(shutil.copytree(ASSETS / "bert-ner", folder / "checkpoint"))
    saved(change, "AutoModelForTokenClassification")(checkpoint)
    export(ExportOptions(str(checkpoint), "names", precision="fp32", repository=folder / "model_repository"))
    return folder / "model_repository"


def rename_the_token(entry: Path) -> None:
    path = entry / "1" / "tokenizer.json"
    path.write_text(path.read_text().replace('"<user>"', '"<caller>"'))


def change_the_warmup(entry: Path) -> None:
    path = min((entry / "warmup").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("tamper", "failing"),
    [
        (lambda entry: None, set()),
        (rename_the_token, {"texts of its own: one item a request", "files in the repository, as they were written"}),
        (change_the_warmup, {"files in the repository, as they were written"}),
    ],
)
def test_an_entry_that_was_tampered_with_fails(with_a_token, tmp_path, tamper, failing):
    """A served tokenizer that lost a token gives other answers to texts with it; what is not asked for shows in the files."""
    repository = Path(shutil.copytree(with_a_token, tmp_path / "model_repository"))
    tamper(repository / "names")
    report = tmp_path / "report.json"
    with Server(repository) as server:
        result = run("validate", "names", "--url", server.url, "--repository", repository, "--report", report)
    assert result.exit_code == (3 if failing else 0), result.output
    [found] = json.loads(report.read_text())["validations"]
    failed = {check["name"] for check in found["checks"] if not check["passed"]}
    assert failed >= failing
    assert bool(failed) == bool(failing)


def test_a_prompt_that_was_tampered_with_fails(tmp_path):
    """A served prompt that is another one gives other embeddings, told by the items that ask for it."""
    checkpoint = Path(shutil.copytree(ASSETS / "bert-ner", tmp_path / "checkpoint"))
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    prompts = {"prompts": {"query": "Angela asks: ", "document": ""}, "default_prompt_name": "document"}
    (checkpoint / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    repository = tmp_path / "model_repository"
    export(ExportOptions(str(checkpoint), "sentences", precision="fp32", repository=repository))
    path = repository / "sentences" / "1" / "front.json"
    path.write_text(path.read_text().replace("Angela asks: ", "Paris says: "))
    report = tmp_path / "report.json"
    with Server(repository) as server:
        result = run("validate", "sentences", "--url", server.url, "--repository", repository, "--report", report)
    assert result.exit_code == 3, result.output
    [found] = json.loads(report.read_text())["validations"]
    failed = {check["name"] for check in found["checks"] if not check["passed"]}
    assert {"prompts: one item a request", "files in the repository, as they were written"} <= failed
