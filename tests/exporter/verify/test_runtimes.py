"""Isolated environments: made once, whole or not at all, by whichever Python can."""

import json
import subprocess
import sys
import threading
import time

import pytest

from hf2triton.errors import RuntimeUnavailable
from hf2triton.verify import environments as runtimes
from hf2triton.verify.environments import CACHE, find_runtime, requirements


class FakeCommands:
    """Stands in for venv and pip: makes what they would leave, counts, and fails where it is told to."""

    def __init__(self, seconds: float = 0, failure: BaseException | None = None) -> None:
        self.seconds, self.failure = seconds, failure
        self.made: list[str] = []

    def __call__(self, *command: object) -> str:
        if "venv" in command:
            folder = command[-1]
            (folder / "bin").mkdir()
            (folder / "bin" / "python").touch()
            self.made.append(str(command[0]))
        if "pip" in command:
            time.sleep(self.seconds)
            if self.failure:
                raise self.failure
        return json.dumps({"onnxruntime": "1.17.3", "numpy": "1.26.4"})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "runtimes"


@pytest.fixture
def commands(monkeypatch):
    fake = FakeCommands()
    monkeypatch.setattr(runtimes, "_run", fake)
    return fake


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.16.3", ["onnxruntime==1.16.3", "numpy<2"]),
        ("1.18", ["onnxruntime==1.18.*", "numpy<2"]),
        ("1.19", ["onnxruntime==1.19.*", "numpy"]),
        ("1.28.0", ["onnxruntime==1.28.0", "numpy"]),
    ],
)
def test_what_pip_is_asked_for(version, expected):
    """Three numbers are that very version, two its newest patch; old ones were built for numpy 1."""
    assert requirements(version) == expected


def test_a_real_environment_is_made_once_and_is_isolated(runtimes, monkeypatch):
    """It holds the version that was asked for and nothing of ours, and is found again at once."""
    made = find_runtime("1.16.3")
    assert (made.onnxruntime, made.numpy[:2]) == ("1.16.3", "1.")
    assert made.interpreter.is_relative_to(runtimes.resolve())
    code = "import onnxruntime, importlib.util as u; print(onnxruntime.__version__, u.find_spec('hf2triton'))"
    asked = subprocess.run([made.interpreter, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["1.16.3", "None"]
    monkeypatch.setattr("hf2triton.verify.environments._run", None)  # which making one calls
    assert find_runtime("1.16.3") == made
    assert not list(runtimes.glob("*.new-*"))


def test_two_at_once_make_it_once(cache, monkeypatch):
    """Whoever comes second waits for the first, and takes what that one made."""
    fake = FakeCommands(seconds=0.5)
    monkeypatch.setattr(runtimes, "_run", fake)
    found = []
    threads = [threading.Thread(target=lambda: found.append(find_runtime("1.17"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.made) == 1
    assert found[0] == found[1] == found[2]


def test_an_interrupted_run_leaves_nothing(cache, monkeypatch):
    """An environment has its name only when it is whole; what a killed run left goes with the next one."""
    monkeypatch.setattr(runtimes, "_run", FakeCommands(failure=KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        find_runtime("1.17")
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    name = f"onnxruntime-1.17-python{minor}"
    assert [path.name for path in cache.iterdir()] == [f".{name}.lock"]
    (cache / f".{name}.new-killed").mkdir()
    monkeypatch.setattr(runtimes, "_run", FakeCommands())
    assert find_runtime("1.17").interpreter == cache.resolve() / name / "bin" / "python"
    assert {path.name for path in cache.iterdir()} == {f".{name}.lock", name}


def test_an_environment_whose_python_has_gone_is_made_again(cache, commands):
    """A link to an interpreter that is no longer there counts as nothing."""
    made = find_runtime("1.17")
    made.interpreter.unlink()
    made.interpreter.symlink_to("/nowhere/python")
    assert find_runtime("1.17") == made
    assert len(commands.made) == 2
    assert made.interpreter.exists()


def test_another_python_is_tried(cache, monkeypatch):
    """Where this Python has no wheel of a version, the next one on the PATH makes the environment, once."""
    pythons = {"3.99": ("new", "3.99.0"), "3.10": ("old", "3.10.13")}
    monkeypatch.setattr(runtimes, "_interpreters", lambda: pythons)
    fake = FakeCommands()

    def refusing(*command: object) -> str:
        if "pip" in command and "python3.99" in str(command[0]):
            raise runtimes._Refused("ERROR: No matching distribution found for onnxruntime==1.16.3")
        return fake(*command)

    monkeypatch.setattr(runtimes, "_run", refusing)
    assert find_runtime("1.16.3").python == "3.10.13"
    assert find_runtime("1.16.3").python == "3.10.13"
    assert fake.made == ["new", "old"]


@pytest.mark.slow
def test_a_version_that_is_not_to_be_had(cache):
    """pip's own word is told, with the version, the Python and what to do."""
    with pytest.raises(RuntimeUnavailable) as caught:
        find_runtime("9.9")
    message = str(caught.value)
    assert "no environment with onnxruntime 9.9 could be made (Python 3." in message
    assert "No matching distribution found for onnxruntime==9.9.*" in message
    assert "put a Python on the PATH" in message
    assert all(path.suffix == ".lock" for path in cache.iterdir())


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    """A file in the place of the folder is named, and the variable that moves it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))
    with pytest.raises(RuntimeUnavailable, match=f"cannot be written .*; name another folder in {CACHE}"):
        find_runtime("1.17")
