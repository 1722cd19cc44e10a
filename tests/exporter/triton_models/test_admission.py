"""What is computed and what is refused when more comes than a model answers: a simulated queue with a clock of its own."""

from __future__ import annotations

import heapq
import random
import re
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest

from hf2triton.triton_models import admission as module
from hf2triton.triton_models.admission import MAX_WAIT, Admission, Overloaded

#: Requests of a full batch, and a second's worth of them.
FULL, RATE = 64, 230.0
#: Seconds that a request costs which is refused: Triton and the frontend answer 4,000 in a second.
REFUSED = 1 / 4000


@dataclass(order=True)
class Asked:
    """A request: when it came, and until when its caller waits."""

    came: float
    until: float = field(compare=False)


class Simulation:
    """Triton's queue before one frontend: it drops those whose callers have left when it makes a batch, and makes one while the
    one before it is computed."""

    def __init__(self, max_wait=MAX_WAIT, rate=RATE, counts=True, **options):
        self.now, self.rate = 0.0, rate
        self.arrivals: list[Asked] = []
        self.queue: deque[Asked] = deque()
        self.ends: Counter[str] = Counter()
        self.waits: list[float] = []
        self.refused_after: list[float] = []
        self.refusals: list[Overloaded] = []
        self.looks = self.in_vain = 0
        self.again = lambda asked, now, how: None
        self.admission = Admission(
            self.count if counts else lambda: None, max_wait, FULL, clock=lambda: self.now, **options
        )

    def count(self):
        self.looks += 1
        return len(self.queue) + len(self.made)

    def come(self, at, patience):
        heapq.heappush(self.arrivals, Asked(at, at + patience))

    def run(self, until):
        self.made: list[Asked] = []
        while self.now < until and (self.arrivals or self.queue or self.made):
            self._arrive()
            self._make()
            if not self.made:
                self.now = self.arrivals[0].came
                continue
            batch, self.made = self.made, []
            self._make()
            self._execute(batch)
        return self

    def _arrive(self):
        while self.arrivals and self.arrivals[0].came <= self.now:
            self.queue.append(heapq.heappop(self.arrivals))

    def _make(self):
        while self.queue and len(self.made) < FULL:
            asked = self.queue.popleft()
            if asked.until >= self.now:
                self.made.append(asked)
            else:
                self._end(asked, "expired")

    def _execute(self, batch):
        error = self.admission.begin(len(batch))
        if error is not None:
            self.refusals.append(error)
            self.now += REFUSED * len(batch)
            self.admission.end(0)
            for asked in batch:
                self.refused_after.append(self.now - asked.came)
                self._end(asked, "refused" if asked.until >= self.now else "expired")
            return
        if questions := self.admission.questions(len(batch)):
            chosen = batch[:: -(-len(batch) // questions)]
            gone = [asked for asked in chosen if asked.until < self.now]
            self.admission.answered(len(chosen), len(gone))
            for asked in gone:
                self._end(asked, "expired")
            batch = [asked for asked in batch if asked not in gone]
        self.now += len(batch) / self.rate + 0.005
        if questions:
            chosen = batch[:: max(1, len(batch) // 8)]
            self.admission.answered(len(chosen), sum(asked.until < self.now for asked in chosen))
        self.admission.end(len(batch))
        for asked in batch:
            late = asked.until < self.now
            self.in_vain += late
            self.waits.append(self.now - asked.came)
            self._end(asked, "expired" if late else "answered")

    def _end(self, asked, how):
        self.ends[how] += 1
        self.again(asked, self.now, how)


def steady(simulation, per_second, seconds, patience):
    for index in range(int(per_second * seconds)):
        simulation.come(index / per_second, patience)
    return simulation


def test_a_flood_is_refused_but_for_what_can_be_answered():
    """20,000 requests within two seconds, whose callers wait for 12: what is left of these when the others have been refused is
    used to answer, the others are told within seconds, and no caller gives up."""
    done = steady(Simulation(), 10_000, 2, 12.0).run(60)
    assert sum(done.ends.values()) == 20_000
    assert done.ends["answered"] >= (MAX_WAIT - 20_000 * REFUSED / 2) * RATE
    assert done.ends["expired"] == 0
    assert max(done.refused_after) < 6


@pytest.mark.parametrize("patience", [3.0, 5.0, 12.0, 60.0])
@pytest.mark.parametrize("overload", [1.3, 2.0, 4.0])
def test_goodput_holds_for_as_long_as_too_much_comes(overload, patience):
    """However long callers wait and however much more comes than is answered, most of what is computed is computed in time.
    Refusing takes time as well, which is not the model's."""
    seconds = 60
    done = steady(Simulation(), RATE * overload, seconds, patience).run(seconds)
    refusing = done.ends["refused"] * REFUSED
    assert done.ends["answered"] >= 0.85 * RATE * (seconds - refusing)
    assert done.in_vain <= 0.12 * done.ends["answered"]


def test_without_a_bound_goodput_is_lost():
    """What the bound is for: each request is computed just when its caller has given up."""
    done = steady(Simulation(max_wait=0), RATE * 4, 60, 5.0).run(60)
    assert done.ends["answered"] <= 0.25 * RATE * 60
    assert done.refusals == []


@pytest.mark.parametrize("callers", [1, 64, 128, 1000, 1500])
def test_callers_who_wait_for_their_answers_are_not_refused(callers):
    """As many as are answered within the time that is allowed, each with one request at a time, for as long as they like."""
    simulation = Simulation()
    for _ in range(callers):
        simulation.come(random.random(), 60.0)
    simulation.again = lambda asked, now, how: simulation.come(now + 0.002, 60.0)
    simulation.run(30)
    assert set(simulation.ends) == {"answered"}
    assert simulation.ends["answered"] >= (0.9 * RATE * 28 if callers >= 128 else 1)


def test_a_crowd_that_is_soon_answered_is_not_refused():
    """Fifteen hundred at once, within what is allowed."""
    simulation = Simulation()
    for _ in range(1500):
        simulation.come(5.0, 60.0)
    assert simulation.run(60).ends == {"answered": 1500}


def test_two_full_batches_may_always_wait():
    """However slow the model is: else a single client would be refused that sends many texts."""
    simulation = Simulation(rate=2.0)
    for turn in range(5):
        for _ in range(2 * FULL):
            simulation.come(turn * 100.0, 300.0)
    assert set(simulation.run(2000).ends) == {"answered"}


def test_a_quiet_server_is_not_asked_what_waits():
    """Nor whether callers are there: what costs time is done when it is of use."""
    simulation = Simulation()
    for index in range(500):
        simulation.come(index * 0.1, 60.0)
    simulation.run(100)
    assert simulation.ends == {"answered": 500}
    assert simulation.looks == 0
    assert simulation.admission.questions(FULL) == 0


def test_a_later_caller_is_soon_answered():
    """After a flood the queue is short again, though most of the flood's callers would still wait."""
    simulation = steady(Simulation(), 10_000, 2, 300.0)
    late = Asked(20.0, 80.0)
    heapq.heappush(simulation.arrivals, late)
    ended = []
    simulation.again = lambda asked, now, how: ended.append((now - asked.came, how)) if asked is late else None
    simulation.run(120)
    [(seconds, how)] = ended
    assert how == "answered"
    assert seconds < MAX_WAIT


def test_a_refusal_says_when_to_come_back():
    """After about as long as what waits takes, not all at the same time; the words end in it."""
    done = steady(Simulation(), 10_000, 2, 12.0).run(60)
    pauses = [
        re.search(r"requests wait, more than are answered in [\d.]+ s; retry after ([\d.]+) s$", str(one))[1]
        for one in done.refusals
    ]
    assert len(set(pauses)) > 5
    assert all(0.1 <= float(pause) <= module._LONGEST_PAUSE * 1.2 for pause in pauses)


@pytest.mark.parametrize("counts", [True, False])
def test_a_server_that_does_not_tell_what_waits_is_served_as_before(counts):
    """Nothing is refused that nobody counts; callers who have left are still found."""
    done = steady(Simulation(counts=counts), RATE * 4, 30, 60.0).run(60)
    assert bool(done.refusals) is counts


def test_what_is_allowed_follows_what_callers_tolerate_and_recovers():
    """Halved while most of a batch have left, never below a second, and whole again once hardly anybody waits."""
    simulation = steady(Simulation(), RATE * 3, 60, 2.5)
    simulation.run(60)
    assert 1.0 <= simulation.admission._allowed < MAX_WAIT
    for index in range(200):
        simulation.come(70 + index * 0.05, 60.0)
    simulation.run(100)
    assert simulation.admission._allowed == MAX_WAIT


def test_several_frontends_share_a_queue():
    """Each computes its part: what waits is answered by all of them."""
    assert steady(Simulation(frontends=4), RATE * 1.2, 60, 60.0).run(60).refusals == []
