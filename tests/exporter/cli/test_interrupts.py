"""Ctrl-C, sent to a command and its children as a terminal does: quiet, quick, exit code 130, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from ...conftest import asset
from ...support import snapshot

SENTIMENT = asset("bert", "text-classification")
#: Seconds that a command may take to end, on a busy machine.
PATIENCE = 60
_MARK = "HF2TRITON_TEST_MARK"
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
        shared = {path.name for path in Path("/dev/shm").iterdir()}
        command = [sys.executable, "-m", "hf2triton", *map(str, words)]
        environment = {**os.environ, _MARK: mark, "TMPDIR": str(folder / "temporary"), **dict(environment)}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder, start_new_session=True
        ) as process:
            before = "" if at else "-"
            while at and at not in before:
                before = (process.stdout if at.startswith("serving") else process.stderr).readline()
                assert before, f"it never said {at!r}"
            time.sleep(seconds)
            assert process.poll() is None, "it has ended too early"
            os.killpg(process.pid, signal.SIGINT)
            try:
                self.stdout, self.stderr = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        self.code = process.returncode
        self.lines = [line for line in self.stderr.splitlines() if not line[:2].isdigit()]  # those are progress
        _, alive = psutil.wait_procs(processes(mark), 5)
        self.alive = [process.cmdline() for process in alive]
        self.left = [path.name for path in (folder / "temporary").iterdir()]
        # of other tests at the same time: the server's regions have the names of its ports
        self.shared = {path.name for path in Path("/dev/shm").iterdir() if path.stat().st_uid == os.getuid()} - shared

    def assert_clean(self, code=130):
        assert (self.code, self.lines, self.alive, self.left) == (code, [], [], []), self.stderr


@pytest.mark.parametrize(("at", "seconds"), [("", 0.3), ("", 1.5), ("load the checkpoint", 0.1), ("trace", 1), ("publish", 0)])
def test_an_export(tmp_path, at, seconds):
    """While it imports, reads, traces or publishes: the entry is there as a whole or not at all."""
    repository = tmp_path / "repository"
    words = ["export", SENTIMENT, "--name", "model", "--repository", repository]
    Interrupted(tmp_path, *words, at=at, seconds=seconds).assert_clean()
    assert not [path.name for path in repository.glob("*") if path.name != ".lock"]
