"""--json prints the document that --report writes, or the data of the tables."""

import json
import shutil

import pytest
import yaml
from click.testing import CliRunner

from hf2triton.cli import main

from ...conftest import asset

SENTIMENT = asset("bert", "text-classification")


def run(*words, code=0):
    """What a command prints as JSON."""
    result = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "models.yaml"
    entries = {"model": {"source": str(SENTIMENT), "precision": "fp32"}}
    path.write_text(yaml.safe_dump({"repository": str(tmp_path / "repository"), "entries": entries}))
    return path


def reported(entries, url, folder):
    """Command -> its arguments. Each writes the same as a report."""
    quick = ["--seconds", "0.1", "--warm-up", "0", "--rounds", "1", "--concurrency", "1", "--contender", "grpc"]
    return {
        "validate": ["validate", "sentiment", "--url", url, "--repository", entries],
        "bench": ["bench", "sentiment", "--url", url, "--repository", entries, *quick],
        "lint": ["lint", entries],
        "export": ["export", SENTIMENT, "--name", "s", "--repository", folder / "r", "--precision", "fp32"],
        "score": ["score", "sentiment", SENTIMENT / "sample.jsonl", folder / "out.jsonl", "--url", url],
    }


@pytest.mark.parametrize("name", ["validate", "bench", "lint", "export", "score"])
def test_the_report_is_printed(entries, url, tmp_path, name):
    """stdout has the document of --report, and nothing else."""
    report = tmp_path / "report.json"
    assert run(*reported(entries, url, tmp_path)[name], "--report", report) == json.loads(report.read_text())


def test_plans_and_builds(file, tmp_path):
    """The plan, and what was built; --check prints the plan and fails."""
    assert [entry["state"] for entry in run("build", file, "--check", code=1)["plan"]["entries"].values()] == ["new"]
    built = run("build", file, "--report", tmp_path / "report.json")
    assert built == json.loads((tmp_path / "report.json").read_text())
    assert list(built["built"]) == ["model"]
    assert [entry["state"] for entry in run("build", file, "--plan")["plan"]["entries"].values()] == ["unchanged"]


def test_what_a_repository_holds(entries, tmp_path):
    """Versions with full figures, manifests, precision plans; what was copied, deleted and served again."""
    copy = tmp_path / "copy"
    published = run("publish", entries, copy, "sentiment", "verses")
    assert {entry["entry"]: entry["state"] for entry in published["entries"]} == {
        "sentiment": "published",
        "verses": "published",
    }
    listed = run("list", "--repository", copy)["versions"]
    assert [(one["name"], one["version"], one["state"]) for one in listed] == [
        ("sentiment", 1, "served"),
        ("verses", 1, "served"),
    ]
    [manifest] = run("inspect", "sentiment", "--repository", copy).values()
    assert manifest == json.loads((copy / "sentiment" / "manifest.json").read_text())
    assert run("inspect", "sentiment", "--precision", "--repository", copy)["sentiment"]["precision"] == "fp32"
    assert run("prune", "--keep", "1", "--repository", copy)["removed"] == {"sentiment": [], "verses": []}
    assert "no version" in run("rollback", "sentiment", "--repository", copy, code=1)["error"]


def test_failures_are_documents(entries, url, tmp_path):
    """A failed validation prints its checks with exit code 3; a command that cannot begin prints why."""
    copy = shutil.copytree(entries / "sentiment", tmp_path / "copy" / "sentiment").parent
    (copy / "sentiment" / "1" / "front.json").write_text("{}")
    failed = run("validate", "sentiment", "--url", url, "--repository", copy, code=3)
    assert [one["passed"] for one in failed["validations"]] == [False]
    assert "no entry 'nope'" in run("inspect", "nope", "--repository", entries, code=1)["error"]


def test_baselines(tmp_path):
    """Where they are, how many inputs they have, and PyTorch's scores."""
    output = tmp_path / "b.safetensors"
    given = run("baseline", SENTIMENT, "-o", output, "--dataset", SENTIMENT / "sample.jsonl")
    [frontend] = given["frontends"]
    assert (frontend["file"], frontend["inputs"] > 0) == (str(output), True)
    assert frontend["scores"][0]["name"] == "accuracy"
