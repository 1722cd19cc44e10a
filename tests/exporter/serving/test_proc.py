"""What processes do, as /proc has it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from hf2triton.serving.proc import Quiet, letter, processes, status

from .below import wait_for
from .children import SLEEPS, SPINS, children


@pytest.fixture
def start():
    with children() as start:
        yield start


def test_processes_have_a_parent_a_name_and_an_age(start):
    """Of this process and one that it has started."""
    child = start(SLEEPS)
    found = dict(processes())
    assert found[child.pid].parent == os.getpid()
    assert found[child.pid].name == found[os.getpid()].name
    assert 0 <= found[child.pid].age <= found[os.getpid()].age


def test_what_is_not_there_has_no_state(start):
    """A process that has ended and was waited for is no error."""
    child = start(SLEEPS)
    child.kill()
    child.wait()
    assert status(child.pid) is None
    assert letter(child.pid) == ""
    assert Quiet().seconds(child.pid) == 0.0


def test_one_that_sleeps_is_quiet(start):
    """Stopped or not: it takes no time of a CPU and does not wait for its turn."""
    sleeping, stopped = start(SLEEPS), start(SPINS)
    stopped.send_signal(signal.SIGSTOP)
    wait_for(lambda: letter(stopped.pid) == "T", "a stop")
    quiet = Quiet()
    wait_for(lambda: min(quiet.seconds(child.pid) for child in (sleeping, stopped)) > 0.5, "quiet")


def test_one_that_computes_is_not_quiet(start):
    """However rarely it is looked at, and though it may have to wait for its turn."""
    child, quiet = start(SPINS), Quiet()
    longest = 0.0
    for pause in (0.0, 0.05, 0.3, 0.05, 0.0):
        time.sleep(pause)
        longest = max(longest, quiet.seconds(child.pid))
    assert longest == 0.0


def test_what_it_did_between_two_looks_counts(start):
    """One that sleeps whenever it is looked at, but has worked meanwhile."""
    child, quiet = (
        start("import signal\nsignal.signal(10, lambda *_: sum(range(20_000_000)))\nwhile True: signal.pause()"),
        Quiet(),
    )
    wait_for(lambda: quiet.seconds(child.pid) > 0.3, "quiet")
    before = status(child.pid).cpu_seconds
    child.send_signal(signal.SIGUSR1)
    wait_for(lambda: status(child.pid).cpu_seconds > before + 0.1 and letter(child.pid) == "S", "the end of its work")
    assert quiet.seconds(child.pid) == 0.0


def test_only_those_that_are_kept_are_known(start):
    """What has ended takes no memory."""
    child, quiet = start(SLEEPS), Quiet()
    wait_for(lambda: quiet.seconds(child.pid) > 0.1, "quiet")
    quiet.keep([])
    assert quiet.seconds(child.pid) == 0.0
