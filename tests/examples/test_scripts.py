"""The examples that are one file: asyncio and streaming."""

from __future__ import annotations

import signal
import time

from hf2triton_client import pipeline

from ..client.fake_triton import FakeTriton, response
from ..support import interruptible
from .running import SECONDS, finished, started


def test_asyncio_answers_fails_times_out_and_cancels(measured):
    """Each part prints what its docstring says, with the answers of the served model."""
    texts = [
        "What a lovely day",
        "I want my money back",
        "The plot is thin, but the actors are wonderful",
        "Two hours that I will never get back",
    ]
    with pipeline("text-classification", model="sentiment", url=measured.url) as classify:
        answers = [classify(text)[0] for text in texts]
        good = classify("good")[0]["label"]
    result = finished("asyncio_client.py", "--url", measured.url, "--timeout", SECONDS)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    expected = [f"{one['label']:8} {one['score']:.3f}  {text}" for one, text in zip(answers, texts, strict=True)]
    assert lines[:4] == expected
    assert lines[4] == f"answered: {good}"
    assert lines[5].startswith("failed: top_k must be 1 or more")
    assert lines[6] == f"within {SECONDS:g} s: {answers[0]['label']}"
    assert lines[7].startswith("first: ")


def test_asyncio_stops_waiting(measured):
    """A call that cannot be in time is reported as such, and the connection still works afterwards."""
    result = finished("asyncio_client.py", "--url", measured.url, "--timeout", 0.000001)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[6] == "no answer within 1e-06 s"
    assert result.stdout.splitlines()[7].startswith("first: ")


def test_a_text_is_printed_in_full(measured):
    """The printed pieces join to the prompt and the text that the pipeline gives for the same seed."""
    with pipeline("text-generation", model="verses", url=measured.url) as write:
        [expected] = write("In the beginning", max_new_tokens=20, seed=3)
    words = ["In the beginning", "--url", measured.url, "--max-new-tokens", 20, "--seed", 3]
    result = finished("streaming.py", *words)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == expected["generated_text"] + "\n"


def test_an_interrupted_text_stays(tmp_path):
    """Ctrl-C ends the text on the server and leaves what has arrived, without a traceback."""

    def script(seen, context):
        yield response([" upon a"], [""])
        while context.is_active():
            time.sleep(0.01)

    with FakeTriton(script) as fake:
        words = ["streaming.py", "Once", "--url", fake.url]
        with started(tmp_path / "log", *words, preexec_fn=interruptible) as process:
            assert process.stdout.read(len("Once upon a")) == "Once upon a"
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=SECONDS)
        fake.wait_for_cancelled("Once")
    assert (process.returncode, rest) == (130, "\n")
    assert (tmp_path / "log").read_text() == ""


def test_no_server_is_one_line():
    """Without a server, the error says so."""
    result = finished("streaming.py", "Once", "--url", "127.0.0.1:1")
    assert result.returncode == 1
    assert "no Triton server answers at 127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr
