"""The worker answers every job once, whatever happens to it and to the server."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import grpc
import pytest

from hf2triton_client import pipeline

from ..client.fake_triton import FakeTriton, response
from ..support import TEXTS
from .running import SECONDS, finished, started, wait_until

WORKER = "worker/worker.py"


def add(folder: Path, name: str, content: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def read(folder: Path) -> dict[str, dict]:
    """What the JSON files directly in a folder hold, by name. No other file is there."""
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.suffix for path in files} <= {".json"}
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def add_prompts(folder: Path, *names: str) -> None:
    for name in names:
        add(folder, name, {"inputs": name, "options": {"return_full_text": False}})


def test_answers_are_those_of_the_model(measured, tmp_path):
    """Each job has an outcome: the model's answer, or why there is none."""
    for number, text in enumerate(TEXTS):
        add(tmp_path, f"text-{number}", {"inputs": text})
    add(tmp_path, "all", {"inputs": "ok", "options": {"top_k": None}})
    add(tmp_path, "refused", {"inputs": "ok", "options": {"top_q": 1}})
    add(tmp_path, "doubled", {"inputs": "ok", "options": {"inputs": 1}})
    add(tmp_path, "empty", {})
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    result = finished(WORKER, tmp_path, "--url", measured.url, "--until-empty")
    assert result.returncode == 0, result.stderr
    with pipeline("text-classification", model="sentiment", url=measured.url) as classify:
        expected = {f"text-{number}": classify(text) for number, text in enumerate(TEXTS)}
        expected["all"] = classify("ok", top_k=None)
    assert read(tmp_path) == {}
    done = {name: content["result"] for name, content in read(tmp_path / "done").items()}
    assert done.keys() == expected.keys()
    for name, labels in expected.items():
        assert [one["label"] for one in done[name]] == [one["label"] for one in labels]
        assert [one["score"] for one in done[name]] == pytest.approx([one["score"] for one in labels], abs=1e-4)
    failed = read(tmp_path / "failed")
    assert failed.keys() == {"refused", "doubled", "empty", "broken"}
    assert "top_q" in failed["refused"]["error"]
    assert failed["empty"]["error"].startswith("not a job")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_loses_nothing(tmp_path, number):
    """SIGTERM lets the jobs under way finish and leaves the others; SIGKILL leaves all. The next worker answers the rest."""
    names, released = ["one", "two", "three", "four", "five"], threading.Event()
    folder, log = tmp_path / "jobs", tmp_path / "log"
    add_prompts(folder, *names)

    def script(seen, context):
        released.wait(SECONDS)
        yield response([seen.text.upper()], ["length"])

    with FakeTriton(script) as fake:
        words = [WORKER, folder, "--url", fake.url, "--model", "verses", "--concurrency", 2]
        with started(log, *words) as process:
            wait_until(lambda: len(fake.seen) == 2)
            begun = {seen.text for seen in fake.seen}
            process.send_signal(number)
            if number == signal.SIGTERM:
                wait_until(lambda: "stopping" in log.read_text())
                released.set()
            code = process.wait(SECONDS)
        assert code == (0 if number == signal.SIGTERM else -number)
        finished_by_now = begun if number == signal.SIGTERM else set()
        assert set(read(folder / "done")) == finished_by_now
        assert set(read(folder)) == set(names) - finished_by_now
        released.set()
        result = finished(*words, "--until-empty")
        assert result.returncode == 0, result.stderr
        if number == signal.SIGTERM:
            assert sorted(seen.text for seen in fake.seen) == sorted(names)
    assert (read(folder), read(folder / "failed")) == ({}, {})
    texts = {name: content["result"][0]["generated_text"] for name, content in read(folder / "done").items()}
    assert texts == {name: name.upper() for name in names}


def test_a_busy_server_is_asked_again_when_it_says(tmp_path):
    """Refusals with a time to wait do not fail a job, however many there are."""
    add_prompts(tmp_path, "one")

    def script(seen, context):
        if seen.tries <= 5:  # the client itself gives up after four
            context.abort(grpc.StatusCode.UNAVAILABLE, "256 texts wait; retry after 0.1 s")
        yield response(["answered"], ["length"])

    with FakeTriton(script) as fake:
        result = finished(WORKER, tmp_path, "--url", fake.url, "--model", "verses", "--until-empty")
        tries = len(fake.seen)
    assert result.returncode == 0, result.stderr
    assert "one.json: again in 0.1 s" in result.stderr
    assert (tries, read(tmp_path)) == (6, {})
    assert read(tmp_path / "done") == {"one": {"result": [{"generated_text": "answered"}]}}


def test_a_waiting_job_does_not_hold_up_the_end(tmp_path):
    """SIGTERM ends the wait for another try, and the job stays."""
    folder, log = tmp_path / "jobs", tmp_path / "log"
    add_prompts(folder, "one")

    def script(seen, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "256 texts wait; retry after 3600 s")
        yield

    with FakeTriton(script) as fake, started(log, WORKER, folder, "--url", fake.url, "--model", "verses") as process:
        wait_until(lambda: "again in 3600.0 s" in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert set(read(folder)) == {"one"}
    assert (read(folder / "done"), read(folder / "failed")) == ({}, {})
