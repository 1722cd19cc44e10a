"""The short form of `make chaos`: some of what may break, each once, with a real server and callers at work."""

import os
import subprocess
import sys

import pytest

from ..conftest import export_asset

#: Faults that take a few seconds each.
FAULTS = ("stub_killed", "cut", "half_closed", "garbage", "wrong_lengths", "fork", "close", "fuzz_parameters")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp16", name="sentiment")
    export_asset(folder, "gpt2", "text-generation", "fp16", name="verses")
    return folder


def test_what_was_promised_is_kept(repository):
    """No call is wrong, lost or hung, whatever is broken."""
    command = [sys.executable, "-m", "tests.chaos", "--seed=1", "--once", "--quiet=1", f"--only={','.join(FAULTS)}"]
    # other tests run at the same time, which may hold the machine for many seconds
    run = subprocess.run(
        [*command, f"--repository={repository}"],
        env={**os.environ, "HF2TRITON_CHAOS_SLACK": "30"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert all(name in run.stdout for name in FAULTS)
