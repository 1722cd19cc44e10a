"""`hf2triton demo` leaves a repository that can be served, and its last lines are commands that work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf2triton.cli.own_command import own_command
from hf2triton.demo.examples import SHOWS

from ...loopback import alone

COMMAND = [sys.executable, "-m", "hf2triton", "demo", "--task", "fill-mask"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder in which the demo of a task has run twice, the second time as JSON."""
    folder = tmp_path_factory.mktemp("demo")
    done = [
        subprocess.run([*COMMAND, *options], capture_output=True, text=True, cwd=folder) for options in ([], ["--json"])
    ]
    assert [one.returncode for one in done] == [0, 0], done
    return folder, *done


def test_a_second_run_builds_nothing(runs):
    """What the repository already holds is served and proved again, not exported."""
    folder, first, second = runs
    assert [path.name for path in (folder / "demo_repository").iterdir() if path.is_dir()] == ["blanks"]
    assert "blanks: export the graph" in first.stderr
    assert "export the graph" not in second.stderr
    assert "validate the served model" in second.stderr


def test_the_tables_are_also_json(runs):
    """The answers, the differences and the measurements."""
    result = json.loads(runs[2].stdout)
    assert result["passed"] is True
    [answer], [frontend] = result["answers"], result["frontends"]
    assert (answer["name"], frontend["task"]) == ("blanks", "fill-mask")
    assert answer["answered"] in " ".join(runs[1].stdout.split())
    assert {one["name"] for one in result["benchmarks"][0]["contenders"]} == {"PyTorch", "ONNX Runtime", "Triton, gRPC"}


def test_the_commands_at_the_end_work(runs):
    """Pasted as they are, on the default ports, in a network of their own: the server starts, and the question is answered."""
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("a network of its own needs user namespaces")
    serve, call = (
        line.strip() for line in runs[1].stdout.splitlines() if line.startswith("  ") and "hf2triton" in line
    )
    script = f"{serve} >&2 & {call}; code=$?; kill %1; wait; exit $code"
    pasted = subprocess.run(alone(["bash", "-c", script]), capture_output=True, text=True, cwd=runs[0])
    assert pasted.returncode == 0, pasted.stderr
    assert "token_str" in json.loads(pasted.stdout)[0]


@pytest.mark.parametrize("show", SHOWS, ids=lambda show: show.name)
def test_each_question_can_be_asked_on_the_command_line(show):
    """The arguments are the entry's name, the inputs and the options of the pipeline."""
    name, *words = show.arguments()
    assert name == show.name
    assert words[: len(show.words)] == show.words
    assert ("--labels" in words) == ("candidate_labels" in show.options)
    if isinstance(show.inputs, Path):
        assert Path(words[0]).is_file()


def test_the_user_is_told_the_command_that_was_used(tmp_path, monkeypatch):
    """`hf2triton` if a shell finds the same, else its path, else Python with the module."""
    program = tmp_path / "bin" / "hf2triton"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert own_command("infer", "a b") == "hf2triton infer 'a b'"
    monkeypatch.setenv("PATH", "/nowhere")
    assert own_command("serve") == f"{program} serve"
    monkeypatch.setattr(sys, "argv", [shutil.__file__.replace("shutil", "__main__")])
    assert own_command("serve") == f"{sys.executable} -m hf2triton serve"
