"""Large sets scored by Ray Data, on a Ray of the run's own on this machine."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest


class Stopped(Exception):
    """Ends a run from within."""


def call(*arguments):
    command = [sys.executable, "-m", "hf2triton", "score", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def left_by_ray() -> set[str]:
    """Processes, shared memory and folders that Ray made."""
    processes = {f"{one.info['pid']} {one.info['name']}" for one in psutil.process_iter(["pid", "name"])}
    ours = {one for one in processes if any(word in one for word in ("raylet", "gcs_server", "ray::"))}
    return (
        ours
        | {path.name for path in Path("/dev/shm").iterdir() if "ray" in path.name or "plasma" in path.name}
        | {path.name for path in Path(tempfile.gettempdir()).glob("hf2triton-ray-*")}
    )


@pytest.mark.slow
def test_ray_writes_the_same_and_goes_on_where_another_run_stopped(url, run, table, tmp_path):
    """Whoever scores them, the shards are the same: two actors complete what a run without Ray began, in the order of the input,
    and leave no process, folder or shared memory behind."""
    run(table, tmp_path / "expected.jsonl")
    output = tmp_path / "out.jsonl"

    def stop(done: int, total: int) -> None:
        if done == 12:
            raise Stopped

    with pytest.raises(Stopped):
        run(table, output, progress=stop)
    before = left_by_ray()
    options = ("--shard-size", 8, "--batch-size", 4, "--ray", "local", "--workers", 2, "--url", url)
    done = call("sentiment", table, output, *options)
    assert done.returncode == 0, done.stderr
    assert f"30 rows in {output}, 8 of them earlier, 0 errors" in done.stdout
    assert output.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()
    until = time.monotonic() + 60
    while (left := left_by_ray() - before) and time.monotonic() < until:  # workers end when they see that Ray has
        time.sleep(0.1)
    assert not left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected.jsonl", "input.jsonl", "out.jsonl"]


@pytest.mark.slow
def test_ray_tells_what_an_actor_could_not_do(url, run, table, tmp_path):
    """A value that Parquet cannot hold stops the run with the actor's own words; what the others did is kept."""
    table.write_text("".join(f'{{"text": "ok", "key": {key}}}\n' for key in [*range(1000), '"one"']))
    done = call("sentiment", table, tmp_path / "out.parquet", "--keep", "key", "--ray", "local", "--url", url)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("hf2triton: a value of the column key is not of type int64, as those before it are")
    assert said.endswith("the same command continues from there")
    assert run(table, tmp_path / "out.jsonl", keep=("key",)).errors == 0
