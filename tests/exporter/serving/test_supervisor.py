"""What a supervisor makes of a server that ends, hangs, or is only slow. No real server: only what it does is real."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hf2triton.serving import supervisor
from hf2triton.serving.loading import ONE_BY_ONE, Control
from hf2triton.serving.renewal import end
from hf2triton.serving.supervisor import GivenUp, Supervisor

from .below import wait_for
from .children import SLEEPS, SPINS, children
from .fake_triton import FakeHost, FakeTriton, listening

MODELS = ["one", "two"]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Most seconds are tenths of them."""
    for name, value in {
        "POLL_SECONDS": 0.02,
        "ANSWER_SECONDS": 0.2,
        "SILENT_SECONDS": 60.0,
        "PAUSES": (0.02, 0.04),
    }.items():
        monkeypatch.setattr(supervisor, name, value)
    monkeypatch.setattr(Control, "live", lambda control: control.answers("v2/health/live", 0.2))
    monkeypatch.setattr("hf2triton.serving.states.STOPPED_SECONDS", 0.3)
    monkeypatch.setattr(supervisor, "STOPPED_SECONDS", 0.3)
    monkeypatch.setattr("hf2triton.serving.reloads.PAUSES", (0.02,))


@contextmanager
def supervised(code: str = SLEEPS) -> Iterator[FakeHost]:
    """A server that has loaded its models, and a supervisor that looks after it until the block ends."""
    triton = FakeTriton(MODELS)
    with listening(triton) as control:
        host = FakeHost(triton, control, code)
        host.supervisor = Supervisor(host, host.start(MODELS), MODELS)
        host.raised = []

        def run() -> None:
            try:
                host.supervisor.run()
            except GivenUp as error:
                host.raised.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield host
        finally:
            triton.silent.clear()
            host.end()
            thread.join()
            end(host.supervisor.process)


def restarted(host: FakeHost, times: int = 1) -> bool:
    return len(host.started) > times and "tritonserver is there again" in host.messages


def test_one_that_has_ended_is_started_again():
    """With the models that it had; what it left is removed first."""
    with supervised() as host:
        host.supervisor.process.kill()
        wait_for(lambda: restarted(host), "a new server")
        assert host.started[1] == (MODELS, ())
        assert host.cleaned == 1
        wait_for(lambda: host.downs[-2:] == [set(MODELS), set()], "nobody to wait for")
        assert host.messages[0] == "tritonserver has ended (SIGKILL); starting it again with 2 models"


def test_one_that_stands_still_is_started_again():
    """Though the process is there, and its port is open."""
    with supervised() as host:
        host.supervisor.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: restarted(host), "a new server")
        assert host.messages[0].startswith("tritonserver was stopped for 0.3 s (SIGSTOP)")


def test_one_that_hangs_is_started_again(monkeypatch):
    """It does not answer and does nothing, without having been stopped."""
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 0.6)
    monkeypatch.setattr(supervisor, "BUSY_SECONDS", 1000.0)
    with supervised() as host:
        host.on_start = host.triton.silent.clear
        host.triton.silent.set()
        wait_for(lambda: restarted(host), "a new server")
        assert "tritonserver has not answered for " in host.messages[0]


def test_one_that_is_slow_is_waited_for(monkeypatch):
    """It does not answer, but computes: on a busy machine that is no reason to end it, or not so soon."""
    monkeypatch.setattr(supervisor, "SILENT_SECONDS", 0.6)
    monkeypatch.setattr(supervisor, "BUSY_SECONDS", 3.0)
    with supervised(SPINS) as host:
        host.on_start = host.triton.silent.clear
        host.triton.silent.set()
        wait_for(lambda: restarted(host), "a new server")
        silent = float(host.messages[0].removeprefix("tritonserver has not answered for ").partition(" s ")[0])
        assert silent >= 3.0


@pytest.mark.parametrize("silent", [(), ("control",)], ids=["both", "metrics"])
def test_one_that_answers_on_any_port_is_left_alone(silent):
    """Each answer begins the time anew: HTTP may be slow only because models are being loaded."""
    triton, scraped = FakeTriton(MODELS), FakeTriton(MODELS)
    with listening(triton) as control, listening(scraped) as metrics, children() as start:
        host = FakeHost(triton, control, SLEEPS)
        host.metrics = metrics
        watching = Supervisor(host, start(SLEEPS), MODELS)
        if silent:
            triton.silent.set()
        for _ in range(2):
            watching._answered -= 1000.0
            assert watching._look() is None
            assert time.monotonic() - watching._answered < 500.0
        triton.silent.set()
        scraped.silent.set()
        watching._answered -= 1000.0
        assert "has not answered for" in watching._look()


def test_answers_that_are_none_end_nothing():
    """Whoever it is that listens there: the supervisor goes on."""
    with supervised() as host:
        host.triton.garbage.set()
        threading.Event().wait(0.3)
        host.triton.garbage.clear()
        host.supervisor.process.kill()
        wait_for(lambda: restarted(host), "a new server")


def test_a_model_that_a_new_server_lacks_is_loaded():
    """Until it succeeds; others see which models are awaited. That the server does not answer at first changes nothing."""
    with supervised() as host:
        host.triton.broken.add("two")

        def lacks() -> None:
            host.triton.ready.remove("two")

        host.on_start = lacks
        host.supervisor.process.kill()
        wait_for(lambda: host.triton.loads.count("two") > 2, "tries")
        assert host.downs[-1] == {"two"}
        assert any(
            "model two could not be loaded: failed to load 'two'; trying again" in said for said in host.messages
        )
        host.triton.broken.clear()
        wait_for(lambda: "model two is loaded again" in host.messages, "the model")
        wait_for(lambda: host.downs[-1] == set(), "nobody to wait for")
        assert set(host.triton.loads) == {"two"}


def test_a_model_that_has_just_come_back_is_not_forgotten():
    """The server ends as soon as it has loaded it, before anybody could ask what it has."""
    with supervised() as host:
        host.on_start = lambda: host.triton.ready.remove("two")
        answer = host.triton.answer

        def ends(path: str) -> tuple[int, str]:
            said = answer(path)
            if path.endswith("/two/load"):
                host.on_start = lambda: None
                host.supervisor.process.kill()
            return said

        host.triton.answer = ends
        host.supervisor.process.kill()
        wait_for(lambda: len(host.started) > 2, "two new servers")
        assert host.started[2][0] == MODELS


def test_one_that_never_starts_is_given_up():
    """After some tries, the later of which load one by one."""
    with supervised() as host:
        host.triton.silent.set()
        host.code = "raise SystemExit(3)"
        host.supervisor.process.kill()
        wait_for(lambda: host.raised, "the end")
        assert host.raised == ["tritonserver did not start 3 times in a row, the last time since tritonserver ended"]
        assert [flags for _, flags in host.started] == [(), (), (), (ONE_BY_ONE,)]


def test_one_that_stands_still_while_it_starts_is_started_once_more():
    """Nobody would notice otherwise: it never becomes live."""
    with supervised() as host:
        host.triton.silent.set()
        host.on_start = lambda: None
        first = host.supervisor.process
        first.kill()
        second = wait_for(lambda: host.supervisor.process is not first and host.supervisor.process, "a new server")
        host.on_start = host.triton.silent.clear
        second.send_signal(signal.SIGSTOP)
        wait_for(lambda: restarted(host, 2), "another one")
        assert any("tritonserver did not start: tritonserver was stopped for 0.3 s" in said for said in host.messages)
