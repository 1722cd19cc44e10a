"""Processes of models that stand still, died while they were loaded, or hang."""

from __future__ import annotations

import math
import signal
import time

import pytest

from hf2triton.serving import states
from hf2triton.serving.loading import Control
from hf2triton.serving.states import Hanging, Loads, ProcessStates
from hf2triton.serving.stubs import Stub
from hf2triton.serving.work import busy, generating

from .below import wait_for
from .children import SLEEPS, SPINS, children

METRICS = """# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="waits",version="1"} 0
nv_inference_pending_request_count{model="waits",version="2"} 3
nv_inference_pending_request_count{model="rests",version="1"} 0
nv_inference_pending_request_count{model="verses",version="1"} 0
hf2triton_live_slots{entry="verses",model="verses",version="1"} 2
hf2triton_live_slots{model="done",version="1"} 0
hf2triton_queue_length{model="done",version="1"} 0
"""


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setattr(states, "STOPPED_SECONDS", 0.3)
    monkeypatch.setattr(states, "QUIET_SECONDS", 0.5)
    monkeypatch.setattr(states, "DEAD_SECONDS", 0.2)
    monkeypatch.setattr(states, "LACKING_SECONDS", 0.5)
    monkeypatch.setattr(states, "LOOK_SECONDS", 0.0)
    with children() as start:
        yield start


def test_one_that_stands_still_for_long_is_found(start):
    """Those that run, or were stopped only now, are not."""
    stopped, running = start(SLEEPS), start(SLEEPS)
    stopped.send_signal(signal.SIGSTOP)
    found = [Stub(stopped.pid, "T", "still", "1"), Stub(running.pid, "S", "runs", "1")]
    look = ProcessStates()
    assert look.see(found) == []
    assert wait_for(lambda: look.see(found), "the one that stands still") == found[:1]
    going = [Stub(stopped.pid, "S", "still", "1"), found[1]]
    assert look.see(going) == []
    assert look.see(found) == [], "it was set going in between"


@pytest.mark.usefixtures("start")
def test_one_that_died_while_it_was_loaded_is_found():
    """Triton waits for it for ever. Its model is known though a dead process has no command line."""
    look = ProcessStates()
    look.see([Stub(7, "S", "model", "1")])
    look.see([Stub(7, "Z")])
    assert wait_for(lambda: look.stuck({"other": 0.0, "model": 0.0}), "the model") == "model"
    assert look.stuck({"other": 0.0}) is None
    assert look.stuck({"model": math.inf}) is None, "Triton was not told to load it yet"
    assert look.stuck({"model": time.monotonic()}) is None, "it died before"


@pytest.fixture
def repository(tmp_path):
    """Two exports and a model of somebody else."""
    for name, exported in {"one": True, "pair": True, "foreign": False}.items():
        version = tmp_path / name / "1"
        version.mkdir(parents=True)
        count = 2 if name == "pair" else 1
        (version.parent / "config.pbtxt").write_text(f'backend: "python"\ninstance_group [ {{ count: {count} }} ]')
        if exported:
            (version / "manifest.json").write_text("{}")
    return tmp_path


def test_a_model_whose_process_is_not_even_a_dead_one_is_found(start, repository):
    """It was killed as soon as it was there, and Triton waits for what it would have said."""
    began, there = time.monotonic(), [Stub(start(SLEEPS).pid, "S", name, "1") for name in ("one", "pair", "foreign")]
    look = Loads([repository], {"python"})
    began_all = dict.fromkeys(["foreign", "one", "pair"], began)
    assert look.stuck(there, began_all) is None, "not for so long yet"
    assert wait_for(lambda: look.stuck(there, began_all), "the model of two instances") == "pair"
    assert look.stuck(there[1:], began_all) == "one"
    assert look.stuck(there, {"one": began}) is None
    assert look.stuck([], {"foreign": began}) is None, "it may never have any"
    assert look.stuck([], {"one": math.inf}) is None, "Triton was not told to load it yet"
    assert Loads([repository], {"onnxruntime"}).stuck([], {"one": began}) is None
    assert Loads([], {"python"}).stuck([], {"one": began}) is None, "it lies elsewhere"


@pytest.mark.parametrize("where", ["process", "server"])
def test_a_model_is_waited_for_while_anything_works(start, repository, where):
    """Another process of it may be at work, or tritonserver itself while it only loads."""
    busy, began = start(SPINS), {"pair": time.monotonic()}
    server, found = (busy.pid, []) if where == "server" else (None, [Stub(busy.pid, "R", "pair", "1")])
    look, until = Loads([repository], {"python"}), time.monotonic() + 1.5
    while time.monotonic() < until:
        assert look.stuck(found, began, server) is None
        time.sleep(0.05)
    busy.kill()
    assert wait_for(lambda: look.stuck([], began), "the model") == "pair"


def test_work_is_read_from_the_metrics():
    """Of all versions of a model; for those that generate, what they have under way as well."""
    assert busy(METRICS) == {"waits", "verses"}
    assert busy("") == set()


def test_whether_one_generates_is_believed_to_be_so_in_doubt(monkeypatch):
    """Where it has said that it has nothing under way, it has not."""
    control = Control("http://127.0.0.1:1", {})
    assert generating(control, "done"), "nobody answers"
    monkeypatch.setattr(Control, "ask", lambda *_, **__: METRICS)
    assert generating(control, "verses")
    assert generating(control, "rests"), "it says nothing of what is under way"
    assert not generating(control, "done")


def test_one_that_hangs_is_found(start):
    """It has work all the time and does nothing. One that computes is not found, nor one that has no work."""
    hangs, computes, rests = start(SLEEPS), start(SPINS), start(SLEEPS)
    stubs = [
        Stub(hangs.pid, "S", "waits", "2"),
        Stub(computes.pid, "R", "verses", "1"),
        Stub(rests.pid, "S", "rests", "1"),
    ]
    look = Hanging()
    for _ in range(2):
        found = wait_for(lambda: look.found(stubs, METRICS), "the one that hangs")
        assert [stub.pid for stub in found] == [hangs.pid]


def test_one_that_had_no_work_in_between_does_not_hang(start):
    """The time in which it is quiet begins with its work."""
    child, look = start(SLEEPS), Hanging()
    stubs = [Stub(child.pid, "S", "waits", "2")]
    wait_for(lambda: look.found(stubs, METRICS), "the one that hangs")
    assert look.found(stubs, "") == []
    assert look.found(stubs, METRICS) == []
