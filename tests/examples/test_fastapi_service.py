"""The FastAPI service, run by uvicorn, in front of a real server and of one that misbehaves."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import grpc
import httpx
import pytest
from google.protobuf.json_format import ParseDict

from hf2triton_client import connect, pipeline

from ..client.fake_triton import FakeTriton, response
from .running import SECONDS, started, wait_until

UVICORN = ("-m", "uvicorn", "app:app", "--app-dir", "fastapi_service", "--port", 0, "--no-access-log")


@contextmanager
def service(folder: Path, url: str, **settings: object) -> Iterator[httpx.Client]:
    """The service in front of the Triton at `url`."""
    log = folder / "log"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TRITON_URL": url, **settings}.items():
            patch.setenv(name, str(value))
        running = started(log, *UVICORN)
        with running as process:

            def place() -> re.Match[str] | None:
                assert process.poll() is None, log.read_text()
                return re.search(r"running on (http://\S+)", log.read_text())

            wait_until(place)
            with httpx.Client(base_url=place()[1], timeout=SECONDS) as client:
                yield client
            process.terminate()
            assert process.wait(SECONDS) in (0, -15), log.read_text()  # newer uvicorns end by the signal itself
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def real(measured, tmp_path_factory) -> Iterator[httpx.Client]:
    with service(tmp_path_factory.mktemp("real"), measured.url) as client:
        yield client


def events(text: str) -> list[tuple[str, dict]]:
    return [(kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)]


def test_it_classifies(real, measured):
    """An answer is the pipeline's, and the service is ready."""
    with pipeline("text-classification", model="sentiment", url=measured.url) as classify:
        expected = classify("What a lovely day", top_k=None)
    answer = real.post("/classify", json={"text": "What a lovely day", "top_k": None})
    assert answer.status_code == 200
    assert [one["label"] for one in answer.json()] == [one["label"] for one in expected]
    assert [one["score"] for one in answer.json()] == pytest.approx([one["score"] for one in expected], abs=1e-4)
    assert (real.get("/ready").status_code, real.get("/ready").json()) == (200, {"missing": []})


def test_it_streams(real, measured):
    """The events' pieces join to the pipeline's text for the same seed."""
    with pipeline("text-generation", model="verses", url=measured.url) as write:
        [expected] = write("In the beginning", max_new_tokens=20, seed=3, return_full_text=False)
    answer = real.post("/generate", json={"prompt": "In the beginning", "max_new_tokens": 20, "seed": 3})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, end = events(answer.text)
    assert {kind for kind, _ in pieces} == {"message"}
    assert len(pieces) > 1
    assert "".join(data["text"] for _, data in pieces) == expected["generated_text"]
    assert end == ("end", {"finish_reason": "length", "tokens": 20})


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/classify", {"text": "ok", "top_k": 0}, "top_k must be 1 or more"),  # by the client
        ("/generate", {"prompt": "ok", "max_new_tokens": 100_000}, "100000"),  # by the server
    ],
)
def test_a_wrong_input_is_422_and_says_why(real, path, body, says):
    """What the model cannot take is the caller's error."""
    answer = real.post(path, json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


class Misbehaving(FakeTriton):
    """A Triton with `sentiment`, which never answers, and `verses`, which does what its prompt says."""

    def __init__(self, classifier: dict) -> None:
        super().__init__(self.act)
        self._classifier = classifier
        self.asked, self.begin = Event(), Event()

    def ModelConfig(self, request, context):  # noqa: N802 - the protocol's name
        answer = super().ModelConfig(request, context)
        return ParseDict({"config": self._classifier}, answer) if request.name == "sentiment" else answer

    def ModelInfer(self, request, context):  # noqa: N802
        self.asked.set()
        self.stay(context)

    def act(self, seen, context):
        if seen.text == "busy":
            context.abort(grpc.StatusCode.UNAVAILABLE, "256 texts wait; retry after 6.5 s")
        if seen.text == "late":
            self.begin.wait(SECONDS)
        if seen.text != "silent":
            yield response(["A piece"], [""])
        if seen.text == "break":
            context.abort(grpc.StatusCode.INTERNAL, "the model broke")
        self.stay(context)

    @staticmethod
    def stay(context) -> None:
        while context.is_active():
            time.sleep(0.01)


@pytest.fixture(scope="module")
def fake(measured) -> Iterator[Misbehaving]:
    with connect(measured.url) as connection:
        config = connection.model_config("sentiment")
    with Misbehaving(config) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(fake, tmp_path_factory) -> Iterator[httpx.Client]:
    """The service in front of the misbehaving Triton, with a place for one request."""
    settings = {"MAX_IN_FLIGHT": 1, "MAX_WAITING": 0, "TIMEOUT": 5}
    with service(tmp_path_factory.mktemp("fake"), fake.url, **settings) as client:
        yield client


@pytest.fixture(scope="module")
def patient(fake, tmp_path_factory) -> Iterator[httpx.Client]:
    """The same with a deadline so late that it ends nothing."""
    with service(tmp_path_factory.mktemp("patient"), fake.url, TIMEOUT=3600) as client:
        yield client


def test_too_many_requests_and_late_answers(impatient, fake):
    """A request without a place is 503 at once. The one that has the place is 504 at its deadline, and so is a text that has
    not begun by then."""
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(impatient.post, "/classify", json={"text": "ok"})
        text = pool.submit(impatient.post, "/generate", json={"prompt": "silent"})
        assert fake.asked.wait(SECONDS)
        second = impatient.post("/classify", json={"text": "ok"})
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert second.json() == {"detail": "ServerBusy"}
        assert (first.result().status_code, text.result().status_code) == (504, 504)


def test_what_the_server_refuses_for_now(impatient):
    """Retry-After is what the server asks for, in whole seconds."""
    answer = impatient.post("/generate", json={"prompt": "busy"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


def test_a_text_that_breaks_off_ends_with_an_error(impatient, fake):
    """What has been sent stays; the event names the status that it would have been, and not the server."""
    answer = impatient.post("/generate", json={"prompt": "break"})
    assert answer.status_code == 200
    assert events(answer.text) == [
        ("message", {"text": "A piece"}),
        ("error", {"status": 500, "detail": "ServerError"}),
    ]
    assert fake.url not in answer.text


def test_a_caller_who_leaves_ends_the_text(patient, fake):
    """The text ends on the server as well."""
    with patient.stream("POST", "/generate", json={"prompt": "stay"}) as answer:
        assert next(answer.iter_lines()) == "event: message"
        assert "stay" not in fake.cancelled
    fake.wait_for_cancelled("stay")


def test_a_caller_who_leaves_before_the_text_begins(patient, fake):
    """The text ends with its first piece."""
    with pytest.raises(httpx.ReadTimeout):
        patient.post("/generate", json={"prompt": "late"}, timeout=httpx.Timeout(SECONDS, read=0.5))
    wait_until(lambda: "late" in [seen.text for seen in fake.seen])
    fake.begin.set()
    fake.wait_for_cancelled("late")


def test_a_server_that_is_gone(impatient, fake):
    """Without a server, calls are 502 and the service is not ready."""
    fake.__exit__()
    assert impatient.post("/generate", json={"prompt": "ok"}).status_code == 502
    answer = impatient.get("/ready")
    assert (answer.status_code, answer.json()) == (503, {"missing": ["sentiment", "verses"]})
