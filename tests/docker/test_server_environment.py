"""The pip lines of the server's image, installed into a clean environment, in which the Python models then run."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

from hf2triton.cli import main

from ..conftest import export_asset
from .conftest import DOCKER, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def environment(tmp_path_factory, request) -> Path:
    """The folder of programs of an environment with what the Dockerfile installs for a target, by its own lines."""
    folder = tmp_path_factory.mktemp("image") / "environment"
    venv.create(folder, with_pip=True)
    base, *targets = re.split(r"^FROM .* AS ", (DOCKER / "server.Dockerfile").read_text("utf-8"), flags=re.MULTILINE)[
        1:
    ]
    [target] = [text for text in targets if text.startswith(f"{request.param}\n")]
    version = re.search(r"^ARG ONNXRUNTIME=(.*)$", target, re.MULTILINE)[1]
    for text in (base, target):
        [line] = re.findall(r"^RUN python3 -m (pip install [^\\\n]*)", text, re.MULTILINE)
        line = line.replace("/opt/hf2triton/requirements.txt", str(DOCKER / "server-requirements.txt"))
        words = line.replace('"', "").replace("${ONNXRUNTIME}", version).split()
        subprocess.run([str(folder / "bin" / "python"), "-m", *words], check=True, capture_output=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Models of texts, of images, and one that generates: all that Python models import is needed."""
    folder = tmp_path_factory.mktemp("image") / "model_repository"
    export_asset(folder, "bert", "question-answering", "fp16", name="answers")
    export_asset(folder, "vit", "image-classification", "fp16", name="clothes")
    export_asset(folder, "gpt2", "text-generation", "int8", name="verses")
    return folder


def test_only_what_is_listed_is_there(environment):
    """Nothing of the tests' own environment shines through."""
    code = "import importlib.util as u; print([m for m in ('torch', 'transformers', 'hf2triton', 'onnx') if u.find_spec(m)])"
    result = subprocess.run([str(environment / "python"), "-I", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform != "linux", reason="the embedded Triton runs on Linux")
def test_models_give_pytorchs_answers_there(environment, repository):
    """Served by the image's entry point, with the clean environment's Python: `hf2triton validate` passes for all of them."""
    with serving(repository, environment) as running:
        command = ["validate", "--url", running.url, "--repository", str(repository)]
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
