"""The way of a new model: a line in the file, build, serve, validate, bench, and a page to decide by."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import ASSETS

#: Each of its steps has its own tests; the whole takes a minute.
pytestmark = pytest.mark.slow
FILE = f"""\
repository: repository
defaults: {{precision: fp16}}
entries:
  sentiment:
    source: {ASSETS / "bert-sentiment"}
"""
ADDED = f"""\
  clothes:
    source: {ASSETS / "vit-fashion"}
    max_batch_size: 16
"""


def hf2triton(folder: Path, *arguments: str, expected: int = 0) -> str:
    """What a command says on stdout."""
    result = subprocess.run(
        [sys.executable, "-m", "hf2triton", *arguments], cwd=folder, capture_output=True, text=True, timeout=280
    )
    assert result.returncode == expected, result.stdout + result.stderr
    assert "\x1b" not in result.stdout + result.stderr  # no colour codes in logs
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository of one model, to whose file another was added."""
    folder = tmp_path_factory.mktemp("shipping")
    (folder / "models.yaml").write_text(FILE)
    hf2triton(folder, "build", "models.yaml")
    (folder / "models.yaml").write_text(FILE + ADDED)
    return folder


@pytest.fixture(scope="module")
def served(built: Path):
    """The url of `hf2triton serve` on it, once what was added is built."""
    said = hf2triton(built, "build", "models.yaml")
    assert re.search(r"sentiment +text-classification +fp16 +unchanged", said)
    assert re.search(r"clothes +image-classification +fp16 +new", said)
    hf2triton(built, "build", "models.yaml", "--check")
    command = [sys.executable, "-m", "hf2triton", "serve", "--repository", "repository"]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    with subprocess.Popen(command, cwd=built, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            yield re.search(r"gRPC (\S+),", line)[1]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def test_a_new_model_is_built_proved_measured_and_shown(built, served):
    """Each step ends with one line that says how it went; the page holds the verdict and the figures of both reports."""
    options = ["--url", served, "--repository", "repository"]
    sample = str(ASSETS / "vit-fashion" / "sample.jsonl")
    source = str(ASSETS / "vit-fashion")
    proved = hf2triton(
        built, "validate", "clothes", *options, "--source", source, "--dataset", sample, "--report", "v.json"
    )
    assert re.fullmatch(r"clothes: all \d+ checks passed", proved.strip().splitlines()[-1])
    load = ["--concurrency", "1,2", "--seconds", "0.3", "--rounds", "1", "--report", "b.json"]
    measured = hf2triton(built, "bench", "clothes", *options, *load)
    assert measured.strip().splitlines()[-1].startswith("clothes: ")
    hf2triton(built, "report", "v.json", "b.json", "-o", "page.html", "-o", "page.md")

    page = re.sub(r"<[^>]+>", " ", (built / "page.html").read_text(encoding="utf-8"))
    validation, benchmark = (json.loads((built / name).read_text()) for name in ("v.json", "b.json"))
    accuracy = next(score for score in validation["validations"][0]["scores"] if score["name"] == "accuracy")
    assert accuracy["rows"] == 60
    assert accuracy["served"] >= accuracy["pytorch"] - 1 / 60
    names = {own["name"] for own in benchmark["benchmarks"][0]["contenders"]}
    assert {"PyTorch", "ONNX Runtime", "Triton, gRPC"} <= names
    assert "Passed" in page
    for said in ("Largest difference", "Accuracy", "One call, median", "Highest throughput", *names):
        assert said in page, said


def test_two_runs_are_compared(built, served):
    """A run is no worse than itself, and one whose answers are worse fails with exit code 3."""
    hf2triton(built, "validate", "sentiment", "--url", served, "--repository", "repository", "--report", "good.json")
    hf2triton(built, "report", "good.json", "good.json", "--fail-if-worse")
    worse = json.loads((built / "good.json").read_text())
    for check in worse["validations"][0]["checks"]:
        for difference in check["differences"]:
            difference["max_abs"], difference["breaches"] = 0.5, ["largest difference 0.5 is above 0.05"]
    (built / "bad.json").write_text(json.dumps(worse))
    hf2triton(built, "report", "good.json", "bad.json", "--fail-if-worse", expected=3)
