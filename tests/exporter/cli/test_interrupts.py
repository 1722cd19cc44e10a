"""Ctrl-C, sent to a command and its children as a terminal does: quiet, quick, exit code 130, and nothing is left."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml

from ...conftest import asset
from ...support import interruptible, rest_slow, snapshot

SENTIMENT = asset("bert", "text-classification")
#: Seconds that a command may take to end, on a busy machine.
PATIENCE = 60
_MARK = "INTERRUPTED_BY_A_TEST"
#: What onnxruntime and PyTorch leave in the folder for temporary files, for all processes of a user.
THEIRS = {".ses", f"torchinductor_{getpass.getuser()}"}
PORTS = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")


def processes(mark):
    """The processes that a command has started, wherever they are."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


class Interrupted:
    """A command, run until a line of its output has the words `at` and for `seconds` more, then interrupted."""

    def __init__(self, folder: Path, *words: object, at: str, seconds: float = 0.0, environment=()):
        (folder / "temporary").mkdir()
        mark = str(folder)
        command = [sys.executable, "-m", "hf2triton", *map(str, words)]
        environment = {**os.environ, _MARK: mark, "TMPDIR": str(folder / "temporary"), **dict(environment)}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,
            preexec_fn=interruptible,
        ) as process:
            before = "" if at else "-"
            while at and at not in before:
                before = (process.stdout if at.startswith("serving") else process.stderr).readline()
                assert before, f"it never said {at!r}"
            time.sleep(seconds)
            assert process.poll() is None, "it has ended too early"
            own = [process.pid, *(child.pid for child in processes(mark))]
            os.killpg(process.pid, signal.SIGINT)
            try:
                self.stdout, self.stderr = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        # as a shell shows the end by a signal, which is Python's before our code runs
        self.code = 128 - process.returncode if process.returncode < 0 else process.returncode
        self.lines = [line for line in self.stderr.splitlines() if not line[:2].isdigit()]  # those are progress
        _, alive = psutil.wait_procs(processes(mark), 5)
        self.alive = [process.cmdline() for process in alive]
        until = time.monotonic() + 5
        while (left := self._left(folder, own)) and time.monotonic() < until:
            time.sleep(0.1)
        self.left = left

    @staticmethod
    def _left(folder: Path, own: list[int]) -> list[str]:
        """Files for a time, and regions of shared memory, whose names have the process that made them."""
        files = [path.name for path in (folder / "temporary").iterdir() if path.name not in THEIRS]
        return files + [path.name for pid in own for path in Path("/dev/shm").glob(f"hf2triton-*{pid}-*")]

    def assert_clean(self, code=130):
        assert (self.code, self.lines, self.alive, self.left) == (code, [], [], []), self.stderr


@pytest.mark.parametrize(
    ("at", "seconds"),
    rest_slow(
        [
            ("export the graph", 0.7),
            ("publish", 0),
            ("check the options", 0),
            ("load the checkpoint", 1),
            ("ask PyTorch", 0.1),
        ],
        2,
    ),
)
def test_an_export(tmp_path, at, seconds):
    """While it imports, asks PyTorch, traces, measures or publishes: the entry is there as a whole or not at all."""
    repository = tmp_path / "repository"
    words = ["export", SENTIMENT, "--name", "model", "--repository", repository]
    stopped = Interrupted(tmp_path, *words, at=at, seconds=seconds)
    stopped.assert_clean()
    assert stopped.stdout == ""
    there = {path.name for path in repository.glob("*")} - {".lock"}
    assert there in ({"model"}, set()) if at == "publish" else not there


def test_a_build_says_what_is_left(tmp_path):
    """Entries that are there stay; one line says how to go on."""
    entries = {name: {"source": str(SENTIMENT), "precision": "fp32"} for name in ("one", "two")}
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"repository": str(tmp_path / "repository"), "entries": entries}))
    stopped = Interrupted(tmp_path, "build", file, at="[2/2] two: ask PyTorch")
    stopped.assert_clean()
    assert "interrupted, 1 built, 1 left to build, run it again" in stopped.stdout.splitlines()[-1]
    assert {path.name for path in (tmp_path / "repository").iterdir()} - {".lock"} == {"one"}


@pytest.mark.parametrize("seconds", [0.5, 0.8, 1.2])
def test_a_server_that_starts(entries, tmp_path, seconds):
    """The server and the processes of its models end, and its shared memory is removed. It may already serve."""
    stopped = Interrupted(tmp_path, "serve", "--repository", entries, *PORTS, at="", seconds=seconds)
    stopped.assert_clean(code=0 if "serving" in stopped.stdout else 130)


def test_a_server_that_serves(entries, tmp_path):
    """That is how one ends it: the exit code is 0."""
    Interrupted(tmp_path, "serve", "--repository", entries, *PORTS, at="serving").assert_clean(code=0)


def test_a_server_of_a_command(entries, tmp_path):
    """The server that validate has started ends with it."""
    Interrupted(tmp_path, "validate", "--serve", "--repository", entries, at="ask answers").assert_clean()


@pytest.mark.parametrize("contender", ["shared-memory", "pytorch"])
def test_a_benchmark(entries, url, tmp_path, contender):
    """The process of the contender ends, and its shared memory is removed."""
    words = ["bench", "sentiment", "--repository", entries, "--url", url, "--contender", contender, "--seconds", "30"]
    Interrupted(tmp_path, *words, at="round 1", seconds=4).assert_clean()


def test_a_score_goes_on(url, tmp_path):
    """What is done is kept, and the same command does the rest."""
    rows = (SENTIMENT / "sample.jsonl").read_text().splitlines()
    (tmp_path / "in.jsonl").write_text("\n".join(rows * 100))
    words = ["score", "sentiment", "in.jsonl", "out.jsonl", "--url", url, "--shard-size", "50", "--batch-size", "1"]
    Interrupted(tmp_path, *words, at=" rows", seconds=1).assert_clean()
    assert not (tmp_path / "out.jsonl").exists()
    done = snapshot(tmp_path / "out.jsonl.parts")
    assert not [name for name in done if name.endswith(".new")]


def test_a_score_over_ray(url, tmp_path):
    """Ray's processes end. (While Ray itself starts, an interrupt may crash it.)"""
    pytest.importorskip("ray")
    rows = (SENTIMENT / "sample.jsonl").read_text().splitlines()
    (tmp_path / "in.jsonl").write_text("\n".join(rows * 1000))
    words = ["score", "sentiment", "in.jsonl", "out.jsonl", "--url", url, "--ray", "local", "--batch-size", "1"]
    # its sockets have paths that must be short
    stopped = Interrupted(tmp_path, *words, at="", seconds=9, environment={"TMPDIR": tempfile.gettempdir()})
    said = [line for line in stopped.lines if not line.startswith("[20")]  # Ray's own log, interrupted or not
    assert (stopped.code, said, stopped.alive) == (130, [], [])


def test_waiting_for_lines(url, tmp_path):
    """infer ends although its stdin stays open."""
    command = [sys.executable, "-m", "hf2triton", "infer", "sentiment", "-", "--url", url]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, preexec_fn=interruptible
    ) as process:
        process.stdin.write(b"What a day\n")
        process.stdin.flush()
        assert process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_an_interrupt_that_a_library_swallows(tmp_path):
    """What a library makes of it does not matter: another error, or none. A second stage does not begin."""
    code = """
import os, signal, sys
import click
from hf2triton.cli.common import command
from hf2triton.cli.console import progress

@click.command()
@click.argument("how")
@command
def work(how):
    with progress() as advance:
        advance("one")
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            if how == "turns":
                raise ImportError("a module failed to initialise")
        if how != "ends":
            advance("two")
            print("done")

work()
"""
    for how in ("turns", "swallows", "ends"):
        done = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, preexec_fn=interruptible
        )
        assert (done.returncode, done.stdout) == (130, "")
        assert done.stderr.split(maxsplit=1)[1:] == ["one\n"]
