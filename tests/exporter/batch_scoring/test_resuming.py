"""Runs that are stopped: the same command continues, and the output is what it would have been."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf2triton.errors import ScoringError, UsageError

from ...support import snapshot
from .conftest import write_lines
from .relay import Relay

KILLED = Path(__file__).with_name("killed.py")


class Stopped(Exception):
    """Ends a run from within."""


def stop_after(rows: int):
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stopped

    return progress


@pytest.mark.parametrize("name", ["out.jsonl", pytest.param("out.parquet", marks=pytest.mark.slow)])
def test_a_kill_at_any_point_loses_and_doubles_no_row(url, run, rows, tmp_path, name):
    """Killed before any change to the disk and any call, a run leaves the whole output or none; the next one completes it, asks
    again for at most what was under way, and leaves nothing else."""
    table = write_lines(tmp_path / "input.jsonl", rows[:20])
    run(table, tmp_path / name, batch_size=8)
    expected = snapshot(tmp_path)[name]
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    done = subprocess.run(
        [sys.executable, str(KILLED), url, str(table), name, str(workspace)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(steps) >= 16
    assert {step["there"] for step in steps} == {None, expected}
    assert [step["again"] for step in steps] == [{name: expected}] * len(steps)
    # the last few are killed when all is over and the plan is gone: the output is there, and is not written again
    before = [step["before"] for step in steps[:-1] if step["before"] != -1]
    assert before == sorted(before)
    assert set(before) == {0, 8, 16, 20}
    assert len(steps) - len(before) <= 4


def test_a_run_goes_on_only_with_the_same(run, table, rows, tmp_path):
    """Another input, model or option is refused with what differs; `restart` throws away what was done, and the same goes on."""
    output = tmp_path / "out.jsonl"
    with pytest.raises(Stopped):
        run(table, output, progress=stop_after(20))
    kept = snapshot(tmp_path)
    other = write_lines(tmp_path / "other.jsonl", rows[::-1])
    refused = {
        r"--keep \(it was \[\], and is \['label'\]\)": {"keep": ("label",)},
        r"--option \(it was {}, and is {'top_k': 2}\)": {"options": {"top_k": 2}},
        r"--shard-size \(it was 8, and is 9\)": {"shard_size": 9},
        "the input, which is not what it was: .*other.jsonl": {"source": other},
        "the model .*'sentiment'.*'clothes'": {"name": "clothes", "columns": {"": "text"}},
    }
    for said, options in refused.items():
        with pytest.raises(UsageError, match=f"what differs is.*{said}.*--restart"):
            run(**{"source": table, "output": output, **options})
    other.unlink()
    assert snapshot(tmp_path) == kept
    again = tmp_path / "again.jsonl"
    shutil.copytree(tmp_path / "out.jsonl.parts", tmp_path / "again.jsonl.parts")
    assert run(table, output, batch_size=1, concurrency=1).rows_before == 16
    assert run(table, again, restart=True).rows_before == 0
    assert [row["id"] for row in map(json.loads, again.open())] == [row["id"] for row in rows]


def test_an_input_that_changes_meanwhile_is_noticed(run, table, rows, tmp_path):
    """What is written must be of one input: if it is another at the end, there is no output."""

    def change(done: int, total: int) -> None:
        if done >= 20:
            write_lines(table, [*rows[:-1], {**rows[-1], "text": "A different end."}])

    with pytest.raises(ScoringError, match="was changed while it was scored; --restart"):
        run(table, tmp_path / "out.jsonl", progress=change)
    assert not (tmp_path / "out.jsonl").exists()


def test_two_runs_at_once_exclude_each_other(run, table, tmp_path):
    """A second run with the same output is refused while the first goes on, which is not disturbed."""
    output, refused = tmp_path / "out.jsonl", []

    def meanwhile(done: int, total: int) -> None:
        if done == 16:
            with pytest.raises(ScoringError, match=r"another run is writing to .*out.jsonl.parts"):
                run(table, output)
            refused.append(done)

    summary = run(table, output, progress=meanwhile)
    assert (refused, summary.rows, len(output.read_text().splitlines())) == ([16], 30, 30)


def test_a_server_that_is_lost_stops_the_run_which_goes_on_later(run, url, table, tmp_path):
    """When nobody answers any more, what is done is kept, no row is taken for wrong, and the same command continues."""
    run(table, tmp_path / "expected.jsonl")
    output = tmp_path / "out.jsonl"
    with Relay(url) as relay:

        def lose(done: int, total: int) -> None:
            if done >= 12:  # the first shard is written
                relay.close()

        with pytest.raises(ScoringError, match=r"no Triton server answers.*the same command continues from there"):
            run(table, output, progress=lose, url=relay.url, concurrency=1)
    assert not output.exists()
    summary = run(table, output)
    assert (summary.rows_before, summary.errors) == (8, 0)
    assert output.read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


def test_a_full_disk_is_told_and_the_run_goes_on(run, table, tmp_path, monkeypatch):
    """When the system refuses to write, its words come out with what to do, not a traceback, and no half of a file stays."""
    real, calls = os.fsync, []

    def full(file):
        calls.append(file)
        if len(calls) == 3:  # the plan, a shard, and then the disk is full
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ScoringError, match=r"No space left on device; what is done is kept in .*: the same command continues"
    ):
        run(table, tmp_path / "out.jsonl")
    assert sorted(path.name for path in (tmp_path / "out.jsonl.parts").iterdir()) == [
        ".lock",
        "plan.json",
        "shard-00000000.jsonl",
    ]
    assert run(table, tmp_path / "out.jsonl").rows_before == 8


def test_a_damaged_shard_is_noticed(run, table, tmp_path):
    """A shard that was cut off, as a disk's fault would, is told by name."""
    for name, ending in (("out.jsonl", "jsonl"), ("out.parquet", "arrow")):
        with pytest.raises(Stopped):
            run(table, tmp_path / name, progress=stop_after(30))
        first = tmp_path / f"{name}.parts" / f"shard-00000000.{ending}"
        content = first.read_bytes()
        first.write_bytes(content[: len(content) // 2])
        with pytest.raises(ScoringError, match=f"shard-00000000.{ending} is damaged: remove it"):
            run(table, tmp_path / name)
        first.unlink()
        assert run(table, tmp_path / name).rows_before == 22
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input.jsonl", "out.jsonl", "out.parquet"]
