"""The wheel in fresh environments: without torch, on this Python, and with numpy 2 on Python 3.13."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from hf2triton.serving import Server

from ..conftest import export_asset
from ..support import ASSETS, environment_without

ROOT = ASSETS.parents[1]
#: What the unit tests of the client need: `report` and `score` bring the rest.
TESTING = ("hypothesis", "jsonschema", "pytest", "pytest-timeout")
#: Tests of the client that need no server, no other packages, and none of tests/conftest.py.
UNIT = (
    *(f"evaluation/test_{name}.py" for name in ("baseline", "compare", "datasets", "places", "questions", "scores")),
    "pipelines/test_images.py",
    *(f"report/test_report{name}.py" for name in ("", "_comparison", "_plots")),
    *(f"transport/test_{name}.py" for name in ("answering", "exchange", "prompts", "retries", "streams")),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A model of texts, and one of images."""
    folder = tmp_path_factory.mktemp("served") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp16", name="sentiment")
    export_asset(folder, "vit", "image-classification", "fp16", name="clothes")
    return folder


@pytest.fixture(scope="module")
def server(repository):
    """A server on them, run by this environment."""
    with Server(repository) as running:
        yield running


def environment_of(folder: Path) -> dict[str, str]:
    """Variables with which programs see an environment, and nothing of this one."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return environment_without("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV") | {"PATH": path, "CI": "true"}


def pip(folder: Path, *arguments: object) -> None:
    """Runs pip of an environment."""
    command = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment_of(folder))
    assert done.returncode == 0, done.stderr


def run(folder: Path, *command: object, **variables: str) -> str:
    """Runs a program of an environment, with further variables; what it writes on stdout."""
    program, *arguments = map(str, command)
    done = subprocess.run(
        [str(folder / "bin" / program), *arguments],
        capture_output=True,
        text=True,
        env=environment_of(folder) | variables,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources, so that no older build can leave files in it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("exporter", "clients"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    [built] = (folder / "dist").iterdir()
    return built


def make_environment(folder: Path, minor: int) -> None:
    """An environment of a Python 3.MINOR from the PATH, or of one that uv brings; skips the test where there is neither."""
    name = f"python3.{minor}"
    tries = [[name, "-m", "venv", folder], ["uv", "venv", "--quiet", "--seed", "--python", f"3.{minor}", folder]]
    reasons = []
    for command in tries:
        if shutil.which(command[0]) is None:
            reasons.append(f"there is no {command[0]} on the PATH")
            continue
        # pyenv's shims run no Python that is not chosen
        environment = environment_without("PYTHONPATH") | {"PYENV_VERSION": f"3.{minor}"}
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=120)
        if done.returncode == 0:
            return
        shutil.rmtree(folder, ignore_errors=True)
        reasons.append(f"{command[0]} fails: {done.stderr.strip()[-200:]}")
    pytest.skip(f"no environment of Python 3.{minor}: {'; '.join(reasons)}")


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory) -> Callable[[int], Path]:
    """Makes the base install on a Python 3.MINOR."""

    @cache
    def made(minor: int) -> Path:
        folder = tmp_path_factory.mktemp("installed") / f"python3.{minor}"
        make_environment(folder, minor)
        pip(folder, "install", "--quiet", wheel)
        return folder

    return made


@pytest.fixture(scope="module")
def extras(wheel, tmp_path_factory) -> Path:
    """On Python 3.13, the extras of clients, and what the unit tests need."""
    folder = tmp_path_factory.mktemp("installed") / "extras"
    make_environment(folder, 13)
    pip(folder, "install", "--quiet", f"{wheel}[images,report,score]", *TESTING)
    return folder


@pytest.mark.parametrize("minor", sorted({sys.version_info.minor, 13}))
def test_the_base_install_needs_no_torch(base, server, repository, minor):
    """With numpy 2 and no extra, the commands that ask a server, and those that look at a repository, do their work."""
    folder = base(minor)
    packages = {one["name"]: one["version"] for one in json.loads(run(folder, "pip", "list", "--format", "json"))}
    assert int(packages["numpy"].split(".")[0]) >= 2
    assert packages.keys().isdisjoint({"torch", "transformers", "onnx", "onnxruntime", "pydantic", "pillow"})
    assert "validate" in run(folder, "hf2triton", "--help")
    answer = json.loads(run(folder, "hf2triton", "infer", "sentiment", "What a lovely day", "--url", server.url))
    assert answer[0]["label"] in ("NEGATIVE", "NEUTRAL", "POSITIVE")
    assert "sentiment" in run(folder, "hf2triton", "list", "--repository", repository)
    assert "1 model" in run(folder, "hf2triton", "lint", repository, "sentiment")
    for name in ("sentiment", "clothes"):
        said = run(folder, "hf2triton", "validate", name, "--url", server.url, "--repository", repository)
        assert f"{name}: all " in said
        assert sys.prefix not in said


@pytest.mark.slow
def test_the_extras_of_clients_run_on_3_13(extras, server, repository, tmp_path):
    """Reports are written and read, pictures are sent as arrays, and sets are scored into Parquet."""
    report, page, scored = tmp_path / "report.json", tmp_path / "report.html", tmp_path / "scored.parquet"
    asked = ("--url", server.url, "--repository", repository, "--report", report)
    run(extras, "hf2triton", "validate", "sentiment", *asked)
    assert run(extras, "hf2triton", "report", report, "-o", page).startswith("Passed. sentiment")
    assert page.read_text().startswith("<!DOCTYPE html>")
    rows = ASSETS / "bert-sentiment" / "sample.jsonl"
    assert "60 rows" in run(extras, "hf2triton", "score", "sentiment", rows, scored, "--url", server.url)
    picture = ASSETS / "vit-fashion" / "sample" / "00.png"
    code = f"""
import numpy, PIL.Image, pyarrow.parquet
from hf2triton_client import pipeline
assert pyarrow.parquet.read_table({str(scored)!r}).num_rows == 60
with pipeline(model="clothes", url={server.url!r}) as look:
    image = PIL.Image.open({str(picture)!r})
    answers = look([{str(picture)!r}, image, numpy.asarray(image.convert("RGB"))])
    print(answers[0][0]["label"] == answers[1][0]["label"] == answers[2][0]["label"])
"""
    assert run(extras, "python", "-c", code).strip() == "True"


@pytest.mark.slow
def test_the_clients_unit_tests_pass_on_3_13(extras):
    """Those that need no server, against the installed wheel."""
    tests = [ROOT / "tests" / "client" / name for name in UNIT]
    options = ("-q", "-p", "no:cacheprovider", "--confcutdir", ROOT / "tests" / "client")
    # some of them start programs that import `tests`
    said = run(extras, "python", "-m", "pytest", *options, *tests, PYTHONPATH=str(ROOT))
    assert " passed" in said.splitlines()[-1]
    where = run(extras, "python", "-c", "import hf2triton_client; print(hf2triton_client.__file__)")
    assert Path(where.strip()).is_relative_to(extras)
