"""Models that are brought back: tried until it succeeds, with growing pauses and the reason of each failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf2triton.serving import reloads
from hf2triton.serving.loading import Control
from hf2triton.serving.missing import is_export, missing
from hf2triton.serving.reloads import Reloads

from .below import wait_for
from .fake_triton import FakeTriton, listening


@pytest.fixture
def triton():
    return FakeTriton(["model"])


@pytest.fixture
def control(triton):
    with listening(triton) as control:
        yield control


@pytest.fixture
def said(monkeypatch) -> list[str]:
    monkeypatch.setattr(reloads, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(reloads, "UNLOAD_SECONDS", 0.1)
    return []


def test_it_is_tried_until_it_succeeds(triton, control, said):
    """The last pause counts for all further tries."""
    triton.broken.add("other")
    bringing = Reloads(control, [], said.append)
    bringing.add("other", anew=False)
    bringing.add("other", anew=False)  # once is enough
    wait_for(lambda: len(said) >= 5, "tries")
    assert set(bringing.began) == {"other"}
    triton.broken.clear()
    wait_for(lambda: not bringing.began, "the model")
    why = "model other could not be loaded: failed to load 'other'; trying again in"
    assert said[:5] == [f"{why} {pause} s" for pause in (0.01, 0.02, 0.03, 0.03, 0.03)]
    assert said[-1] == "model other is loaded again"


def test_what_triton_believes_ready_is_unloaded_first(triton, control, said):
    """Loading alone would do nothing. That Triton does not come to an end of it does not keep it from being loaded."""
    asked, answer = [], triton.answer
    triton.answer = lambda path: (asked.append(path), answer(path))[1]
    bringing = Reloads(control, [], said.append)
    bringing.add("model")
    wait_for(lambda: not bringing.began, "the model")
    changes = [path.rpartition("/")[2] for path in asked if path.startswith("/v2/repository")]
    assert changes == ["unload", "load"]


def test_files_that_are_missing_are_named_without_asking_triton(triton, control, said, tmp_path):
    """Triton would wait for ever for a model.py that is not there."""
    version = entry(tmp_path)
    bringing = Reloads(control, [tmp_path], said.append)
    bringing.add("python", anew=False)
    wait_for(lambda: said, "a try")
    assert said[0].startswith(
        f"model python could not be loaded: {version / 'model.py'} is missing: copy the model again"
    )
    assert triton.loads == []
    (version / "model.py").touch()
    wait_for(lambda: not bringing.began, "the model")
    assert triton.loads == ["python"]


def test_it_ends_with_its_server(triton, control, said):
    """Another server is not told to load what this one lacked."""
    triton.broken.add("other")
    bringing = Reloads(control, [], said.append)
    bringing.add("other", anew=False)
    wait_for(lambda: said, "a try")
    bringing.stop()
    wait_for(lambda: not bringing.began, "the end")
    tries = len(triton.loads)
    triton.broken.clear()
    assert len(triton.loads) == tries


def test_it_ends_when_somebody_else_has_loaded_it(triton, control, said):
    """An operator may be faster."""
    triton.broken.add("other")
    bringing = Reloads(control, [], said.append)
    bringing.add("other", anew=False)
    wait_for(lambda: said, "a try")
    triton.ready.append("other")
    wait_for(lambda: not bringing.began, "the end")
    assert "model other is loaded again" not in said


def test_that_nobody_answers_is_a_reason_as_well(said):
    """The server may be about to be started again."""
    bringing = Reloads(Control("http://127.0.0.1:1", {}), [], said.append)
    bringing.add("model", anew=False)
    wait_for(lambda: len(said) > 2, "tries")
    bringing.stop()
    assert "Connection refused" in said[0]


def entry(repository: Path, config: str = 'backend: "python"', name: str = "python") -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(config)
    return version


@pytest.mark.parametrize(
    ("config", "file"),
    [
        ('backend: "python"', "1/model.py"),
        ('backend: "python"\ndefault_model_filename: "own.py"', "1/own.py"),
        ('backend: "onnxruntime"', "1/model.onnx"),
        ('backend: "python"\nversion_policy { specific { versions: [ 1, 3 ] } }', "1/model.py and 1 others are"),
        ('backend: "tensorrt"', None),
    ],
)
def test_what_a_model_cannot_do_without(tmp_path, config, file):
    """The file that its backend reads, of the versions that are served."""
    entry(tmp_path, config)
    why = missing([tmp_path], "python")
    assert why is None if file is None else why.startswith(f"{tmp_path}/python/{file}")


def test_of_an_export_all_files_are_looked_for(tmp_path):
    """The manifest lists them. Without one it is a model of somebody else."""
    version = entry(tmp_path)
    (version / "model.py").touch()
    assert missing([tmp_path], "python") is None
    assert not is_export([tmp_path], "python")
    (version / "manifest.json").write_text(
        '{"serving": {"runner": "inprocess"}, "files": {"rows.py": "", "baseline.json": "", "model.onnx": ""}}'
    )
    assert missing([tmp_path], "python") == (
        f"{version / 'rows.py'} and 1 others are missing: copy the model again, or export it"
    )
    assert is_export([tmp_path], "python")
    assert missing([], "python") is None, "it lies elsewhere"
