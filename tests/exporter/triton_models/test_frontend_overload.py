"""What a frontend does for callers who have left, and when it is told that too much waits."""

import re

import numpy as np
import pytest

from hf2triton.triton_models.admission import Admission, Overloaded
from hf2triton.triton_models.batch_planner import Limits
from hf2triton.triton_models.callers import PERIOD, Callers
from hf2triton.triton_models.executors import InProcessExecutor
from hf2triton.triton_models.preprocessor import Item, Preprocessor

from .stub import Request, frontend

model = frontend("frontend")


class Texts(Preprocessor):
    """A row for each text; keeps what it has read."""

    inputs = {"text": True}

    def __init__(self):
        self.read = []

    def values(self, arrays):
        return [value.decode() for value in arrays["text"].ravel()]

    def items(self, values, wanted):
        self.read += values
        return [Item([value]) for value in values]

    def feeds(self, rows, extra=0):
        return {"lengths": np.array([[len(row)] for row in rows])}

    def extent(self, row, per):
        return None


class Session:
    """A graph that gives each row its length; keeps what it was run with. `before`: called before each run."""

    def __init__(self):
        self.ran, self.before = [], lambda: None

    def run(self, outputs, feeds):
        self.before()
        self.ran += feeds["lengths"].ravel().tolist()
        return [feeds["lengths"].astype(np.float32)]


class Fixed(Admission):
    """Asks as many as it is told to, and decides what it is told to."""

    asks, decision = 0, None

    def __init__(self):
        super().__init__(lambda: None, 0, 8)
        self.told, self.ended = [], []

    def begin(self, requests):
        super().begin(requests)
        return self.decision

    def questions(self, requests):
        return self.asks

    def answered(self, asked, gone):
        self.told.append((asked, gone))

    def end(self, computed):
        self.ended.append(computed)


@pytest.fixture
def served():
    """A model whose calls are of one row each, on one thread."""
    made = model.TritonPythonModel()
    made.outputs, made.limits = {"lengths": "row"}, Limits(call_price=0, max_rows=1, max_tokens=1000)
    made.preprocessor, made.answers, made.admission = Texts(), {}, Fixed()
    made.executor = InProcessExecutor.__new__(InProcessExecutor)
    made.executor.workers, made.executor._wide = 1, Session()
    return made


def requests(count=8, gone=()):
    return [Request({"text": ["x" * (index + 1)]}, ["lengths"], index in gone) for index in range(count)]


def lengths(responses):
    """What each was answered, or its error's code."""
    return [one.error.code if one.error else int(one.outputs["lengths"].item()) for one in responses]


def test_a_batch_is_refused_without_a_look_at_it(served):
    """Each request is told that it may come again, and when; nothing is read or run."""
    served.admission.decision = Overloaded("9 requests wait; retry after 1.5 s")
    responses = served.execute(requests())
    assert lengths(responses) == ["UNAVAILABLE"] * 8
    assert all(re.search(r"; retry after [\d.]+ s$", one.error.message) for one in responses)
    assert (served.preprocessor.read, served.executor._wide.ran, served.admission.ended) == ([], [], [0])


def test_what_nobody_waits_for_is_not_computed(served):
    """Where callers are asked; the others are answered. How many have left is reported, before and after."""
    served.admission.asks = 8
    assert lengths(served.execute(requests(gone={1, 5, 6}))) == [1, "CANCELLED", 3, 4, 5, "CANCELLED", "CANCELLED", 8]
    assert sorted(served.executor._wide.ran) == [1, 3, 4, 5, 8]
    assert served.admission.told == [(8, 3), (8, 3)]
    assert served.admission.ended == [5]


def test_a_quiet_server_asks_nobody(served):
    """Asking takes time: those who have left are answered like others."""
    asked = requests(gone={1})
    assert lengths(served.execute(asked)) == list(range(1, 9))
    assert [one.looks for one in asked] == [0] * 8


def test_a_few_are_asked_where_all_would_take_too_long(served):
    """Evenly spread over the batch."""
    served.admission.asks = 3
    asked = requests()
    served.execute(asked)
    assert [one.looks for one in asked] == [2, 0, 0, 2, 0, 0, 2, 0]


def test_who_leaves_during_a_long_batch_is_not_computed_for(served, monkeypatch):
    """Callers are asked again before each call that comes more than a second after the last question."""
    now, asked = [0.0], requests()
    monkeypatch.setattr(model, "Callers", lambda those: Callers(those, clock=lambda: now[0]))

    def before():
        now[0] += 0.6 * PERIOD
        for index in (0, 1, 2):  # the shortest, which come last
            asked[index].gone = now[0] > PERIOD

    served.executor._wide.before = before
    assert lengths(served.execute(asked)) == ["CANCELLED"] * 3 + [4, 5, 6, 7, 8]
    assert sorted(served.executor._wide.ran) == [4, 5, 6, 7, 8]
    assert all(one.looks <= 2 for one in asked)


def test_a_call_that_somebody_waits_for_is_run(served):
    """Of several rows of different callers, though one of them has left."""
    served.limits = Limits(call_price=1000, max_rows=8, max_tokens=1000)
    callers = Callers(requests(gone={0}), clock=iter(np.arange(0.0, 100.0, 2 * PERIOD)).__next__)
    assert callers.wait([0, 1])
    assert not callers.wait([0])


def test_a_caller_who_cannot_be_asked_is_there():
    """Better an answer too many."""
    [request] = requests(1)
    request.is_cancelled = lambda: 1 / 0
    callers = Callers([request])
    assert callers.ask(1) == (1, 0)
    assert callers.there == 1
    assert Callers([]).ask(8) == (0, 0)
