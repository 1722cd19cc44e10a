"""The CI example builds, proves and reports, and fails when it should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ..support import ASSETS
from .running import EXAMPLES

FOLDER = EXAMPLES / "export_in_ci"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A clone with the example and its checkpoint."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        FOLDER, root / "examples" / "export_in_ci", ignore=shutil.ignore_patterns("model_repository", "report")
    )
    shutil.copytree(ASSETS / "bert-sentiment", root / "tests" / "assets" / "bert-sentiment")
    return root


def run(checkout: Path) -> subprocess.CompletedProcess[str]:
    """The script, as the workflow runs it."""
    workflow = yaml.safe_load((FOLDER / "workflow.yaml").read_text(encoding="utf-8"))
    [script] = [step["run"] for step in workflow["jobs"]["models"]["steps"] if "ci.sh" in step.get("run", "")]
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
    }
    return subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def differing(checkout) -> subprocess.CompletedProcess[str]:
    """A run with one more entry, whose tolerance no graph can keep to."""
    file = checkout / "examples" / "export_in_ci" / "models.yaml"
    before = file.read_text(encoding="utf-8")
    content = yaml.safe_load(before)
    strict = {"precision": "fp32", "tolerances": {"logits": {"max_abs": 1e-12}}}
    content["entries"]["strict"] = {**content["entries"]["sentiment"], **strict}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    result = run(checkout)
    file.write_text(before, encoding="utf-8")
    return result


@pytest.fixture(scope="module")
def passed(checkout, differing) -> Path:
    """The example's folder after a run that has passed. The run before has built what is declared."""
    result = run(checkout)
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout / "examples" / "export_in_ci"


def test_a_model_that_differs_fails_it(checkout, differing):
    """A parity failure ends the job with 3, before anything is served. The repository has the other models."""
    assert differing.returncode == 3, differing.stdout + differing.stderr
    assert "hf2triton: strict: " in differing.stderr
    assert "parity" in differing.stderr
    entries = {path.name for path in (checkout / "examples" / "export_in_ci" / "model_repository").iterdir()}
    assert entries & {"sentiment", "strict"} == {"sentiment"}


def test_it_builds_proves_and_reports(checkout, passed):
    """The repository is there, the report says that its model passed, and the job's summary is that report."""
    report = json.loads((passed / "report" / "validation.json").read_text(encoding="utf-8"))
    assert [(one["model"], one["passed"]) for one in report["validations"]] == [("sentiment", True)]
    assert (passed / "model_repository" / "sentiment" / "config.pbtxt").is_file()
    summary = (checkout / "summary.md").read_text(encoding="utf-8")
    assert summary == (passed / "report" / "validation.md").read_text(encoding="utf-8")
    assert "sentiment" in summary


def test_an_entry_that_is_not_declared_fails_it(checkout, passed):
    """What a cached repository holds beyond the file is reported."""
    stray = passed / "model_repository" / "stray"
    shutil.copytree(passed / "model_repository" / "sentiment", stray)
    try:
        result = run(checkout)
    finally:
        shutil.rmtree(stray)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "is not what models.yaml declares" in result.stderr
    assert not (passed / "report").exists()


def test_its_files_are_valid():
    """GitHub takes the workflow, and shellcheck finds nothing in the script."""
    for command in (
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", "workflow.yaml"],
        [str(BIN / "shellcheck"), "ci.sh"],
    ):
        result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
