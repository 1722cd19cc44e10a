"""The load generator, with calls whose service times are known."""

import itertools
import threading
import time
from collections import Counter

import numpy as np
import pytest

from hf2triton_client.loadgen.load import Generated, Sample, arrivals, median_of, run_load
from hf2triton_client.loadgen.results import Load

ONE = Load(1, None, 1)


class Service:
    """Takes `seconds` for each call; counts them, and how many are under way at the same time."""

    def __init__(self, seconds=0.002, at_a_time=1000):
        self.seconds = seconds
        self.free = threading.Semaphore(at_a_time)
        self.lock = threading.Lock()
        self.asked = []
        self.inside = self.most = 0

    def __call__(self, value):
        with self.lock:
            self.asked.append(value)
            self.inside += 1
            self.most = max(self.most, self.inside)
        with self.free:
            time.sleep(self.seconds)
        with self.lock:
            self.inside -= 1


def test_a_closed_loop_keeps_its_callers_busy():
    """As many calls as there are callers are under way at the same time, never more, and each input has its turn."""
    service = Service()
    sample = run_load(service, ["a", "b", "c"], Load(4, None, 3), seconds=0.2, warm_up=0.05)
    assert service.most == 3
    asked = Counter(service.asked[1:])
    assert set(asked) == {"a", "b", "c"}
    assert max(asked.values()) - min(asked.values()) <= 1
    assert sample.errors == 0
    assert sample.first_error == ""
    assert 0 < sample.calls < len(service.asked)  # those of the warm-up do not count
    assert 2.0 <= sample.p50_ms <= sample.p90_ms <= sample.p99_ms
    # three callers cannot do more than a call each in a service time
    assert 0 < sample.items_per_second <= 4 * 3 / 0.002
    assert sample.tokens_per_second is None


def test_throughput_is_a_share_of_calls_that_outlast_the_measurement():
    """A call that takes three times as long as the measurement counts as a third in it, and is waited for."""
    sample = run_load(Service(0.3), [0], ONE, seconds=0.1, warm_up=0.0)
    assert sample.calls == 1
    assert sample.p50_ms >= 300
    assert sample.items_per_second <= 1 / 0.3


def test_an_open_loop_counts_from_the_schedule():
    """Calls that wait behind a slow one are late, though each takes as long as the others: the wait is in their latency."""
    order = itertools.count()

    def stalls_once(_):
        if next(order) == 5:
            time.sleep(0.5)

    sample = run_load(stalls_once, [0], Load(1, None, None, 100.0), seconds=0.6, warm_up=0.0, seed=1, most_callers=1)
    due = arrivals(100.0, 0.6, 1)
    assert sample.calls + sample.errors == len(due)
    # the stall begins when the fifth is due at the earliest; what is due in its first 0.35 s waits at least 0.15 s for its end
    waiting = [moment for moment in due if due[4] < moment < due[4] + 0.35]
    assert len(waiting) > len(due) / 2
    assert sample.p50_ms >= 150


def test_an_open_loop_does_not_wait_for_answers():
    """Calls begin when they are due, so that more of them are under way the longer each takes."""
    service = Service(0.1)
    sample = run_load(service, [0], Load(1, None, None, 80.0), seconds=1.0, warm_up=0.0)
    assert service.most > 3
    assert sample.errors == 0
    assert sample.calls == len(arrivals(80.0, 1.0))
    assert len(service.asked) == 1 + sample.calls


def test_an_open_loop_that_cannot_keep_up_is_bounded():
    """What has not begun long after the end is given up and counted as errors that say so; throughput is what was done."""
    began = time.monotonic()
    sample = run_load(Service(0.05), [0], Load(1, None, None, 400.0), seconds=0.2, warm_up=0.0, most_callers=1)
    assert time.monotonic() - began < 30
    assert sample.calls + sample.errors == len(arrivals(400.0, 0.2))
    assert sample.errors > sample.calls
    assert "400 calls a second are more than it can do" in sample.first_error
    assert sample.items_per_second <= 1 / 0.05


def test_errors_are_counted_and_the_first_is_kept():
    """A call that fails is no answer: it is in no latency and no throughput."""
    order = itertools.count()

    def fails_often(_):
        number = next(order)
        if number and number % 2:
            raise ValueError(f"call {number} failed")

    sample = run_load(fails_often, [0], Load(1, None, 2), seconds=0.1, warm_up=0.0)
    assert sample.errors >= 1
    assert sample.calls >= 1
    assert sample.first_error.startswith("ValueError: call ")


def test_a_first_call_that_fails_is_raised():
    """Who cannot answer at all is not put under load."""

    def fails(_):
        raise ConnectionError("nobody is there")

    with pytest.raises(ConnectionError, match="nobody"):
        run_load(fails, [0], ONE, seconds=0.1)


def test_when_all_calls_fail_there_are_no_latencies():
    """Percentiles of nothing are NaN, and the throughput is 0."""
    order = itertools.count()

    def fails_later(_):
        if next(order):
            raise ValueError("no more")

    sample = run_load(fails_later, [0], Load(1, None, 2), seconds=0.1, warm_up=0.0)
    assert sample.calls == 0
    assert sample.errors > 0
    assert np.isnan([sample.mean_ms, sample.p50_ms, sample.p90_ms, sample.p99_ms]).all()
    assert sample.items_per_second == 0


def test_tokens_of_calls_that_generate_are_counted():
    """Tokens a second go with the calls, and the first token has a latency of its own."""

    def generate(_):
        time.sleep(0.02)
        return Generated(10, 0.005)

    sample = run_load(generate, [0], ONE, seconds=0.2, warm_up=0.0)
    assert sample.tokens_per_second == pytest.approx(10 * sample.items_per_second)
    assert 5.0 <= sample.first_token_ms < sample.p50_ms


def test_arrivals_are_a_poisson_process_that_a_seed_repeats():
    """Gaps are exponential with the rate's mean: their standard deviation is as large as it."""
    moments = arrivals(1000.0, 20.0, seed=3)
    gaps = np.diff(moments)
    assert moments == arrivals(1000.0, 20.0, seed=3)
    assert moments != arrivals(1000.0, 20.0, seed=4)
    assert moments[0] == 0
    assert max(moments) < 20
    assert gaps.mean() == pytest.approx(1e-3, rel=0.05)
    assert gaps.std() == pytest.approx(1e-3, rel=0.05)


def test_rounds_become_medians():
    """Of each figure the median, of calls and errors the sum, of errors' texts the first."""
    nan = float("nan")
    rounds = [
        Sample(3, 0, "", 1.0, 1.0, 2.0, 3.0, 10.0),
        Sample(4, 1, "it broke", 9.0, 9.0, 9.0, 9.0, 30.0, 7.0, 8.0),
        Sample(0, 2, "again", nan, nan, nan, nan, 0.0),
        Sample(5, 0, "", 2.0, 2.0, 3.0, 4.0, 20.0),
    ]
    expected = Sample(12, 3, "it broke", 2.0, 2.0, 3.0, 4.0, 15.0, 7.0, 8.0)
    assert median_of(rounds) == expected
