"""Whether models have their processes, and what keeps that from being known."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import urllib.error

import pytest

from hf2triton.serving.presence import Expected, Presence
from hf2triton.serving.stubs import Stub, dead_stubs, stubs

from .below import wait_for

PYTHON = {"backend": "python", "instance_group": [{"count": 2}]}


class Configs:
    """Counts how often it is asked."""

    def __init__(self, **configs: dict) -> None:
        self.configs, self.asked = configs, 0

    def config(self, model: str, version: str) -> dict:
        self.asked += 1
        if model not in self.configs:
            raise urllib.error.HTTPError("", 400, "", {}, io.BytesIO())
        return self.configs[model]


@pytest.mark.parametrize(
    ("config", "processes", "decoupled"),
    [
        (PYTHON, 2, False),
        ({**PYTHON, "instance_group": [{"count": 2, "gpus": [0, 1]}, {"count": 1}]}, 5, False),
        ({**PYTHON, "model_transaction_policy": {"decoupled": True}}, 2, True),
        ({**PYTHON, "backend": "onnxruntime"}, 0, False),
    ],
)
def test_what_a_config_promises(config, processes, decoupled):
    """A process for each instance, of models whose backend makes processes."""
    assert Expected.of(config, ["python"]) == Expected(processes, decoupled)


def test_a_model_with_too_few_processes_lacks_some():
    """Dead ones, and those of other versions, do not count."""
    look = Presence(Configs(model=PYTHON), ["python"])
    running = [Stub(1, "S", "model", "1"), Stub(2, "S", "model", "1")]
    assert look.lacking([("model", "1")], running) == {}
    for found in ([running[0]], [running[0], Stub(2, "Z")], [running[0], Stub(2, "S", "model", "2")], []):
        assert list(look.lacking([("model", "1")], found)) == ["model"]


def test_it_asks_only_when_something_is_amiss():
    """Five times a second is too often to ask for configs."""
    configs = Configs(model=PYTHON)
    look = Presence(configs, ["python"])
    running = [Stub(1, "S", "model", "1"), Stub(2, "S", "model", "1")]
    for _ in range(3):
        look.lacking([("model", "1")], running)
    assert configs.asked == 1


def test_a_config_that_was_changed_counts():
    """The model was loaded anew, with fewer instances."""
    configs = Configs(model=PYTHON)
    look = Presence(configs, ["python"])
    look.lacking([("model", "1")], [Stub(1, "S", "model", "1"), Stub(2, "S", "model", "1")])
    configs.configs["model"] = {**PYTHON, "instance_group": [{"count": 1}]}
    assert look.lacking([("model", "1")], [Stub(1, "S", "model", "1")]) == {}


def test_a_model_that_is_gone_lacks_nothing():
    """It was unloaded between two questions."""
    look = Presence(Configs(), ["python"])
    assert look.lacking([("model", "1")], [Stub(1, "S", "other", "1")]) == {}


def test_where_no_process_says_whose_it_is_none_is_missed():
    """Were command lines of another form, all models would be loaded again and again."""
    look = Presence(Configs(model=PYTHON), ["python"])
    assert look.lacking([("model", "1")], [Stub(1, "S"), Stub(2, "S")]) == {}
    look.note([Stub(3, "S", "model", "1")])
    assert list(look.lacking([("model", "1")], [])) == ["model"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("models/texts/3/model.py", ("texts", "3")), ("folderXy12aB/3/model.py", ("copied", "3")), ("model.py", ("", ""))],
    ids=["folder", "copy of an object store", "unknown"],
)
def test_processes_say_whose_they_are(tmp_path, path, expected):
    """Those of this process's children that have the name; one that has ended is dead until it is waited for."""
    (tmp_path / "triton_python_backend_stub").symlink_to(sys.executable)
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("import time\ntime.sleep(1000)")
    command = [str(tmp_path / "triton_python_backend_stub"), path, *"bcdefg", "copied_0_1"]
    child = subprocess.Popen(command, cwd=tmp_path)
    try:
        found = wait_for(lambda: stubs(os.getpid()), "the process")
        assert [(one.pid, one.model, one.version, one.dead) for one in found] == [(child.pid, *expected, False)]
        assert dead_stubs(os.getpid()) == []
        child.kill()
        wait_for(lambda: dead_stubs(os.getpid()) == [child.pid], "its end")
    finally:
        child.kill()
        child.wait()
    assert dead_stubs(os.getpid()) == []
