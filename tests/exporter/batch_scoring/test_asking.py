"""Rows that fail beside others, and answers in order."""

import threading
from pathlib import Path

import pytest

from hf2triton.batch_scoring.batch_client import Asker, Scored, in_order
from hf2triton.batch_scoring.options import ScoreOptions
from hf2triton.batch_scoring.task_schemas import form_of
from hf2triton_client.errors import ConnectionFailed, DeadlineExceeded, InputError, ModelNotFound, ServerError, from_rpc


class Server:
    """A pipeline that fails a call as one of its texts says, and counts the calls."""

    task = "text-classification"
    errors = {"refused": InputError, "crash": ServerError, "gone": ConnectionFailed}

    def __init__(self):
        self.calls = []

    def merged(self, options):
        return options

    def prepare(self, inputs, options):
        return None

    def __call__(self, texts, batch_size):
        self.calls.append(texts)
        for text in texts:
            if text in self.errors:
                raise self.errors[text](f"text {texts.index(text)} is {text}")
        return [text.upper() for text in texts]


def asker(server: Server) -> Asker:
    options = ScoreOptions("model", Path("in.jsonl"), Path("out.jsonl"))
    return Asker(server, form_of(server.task, options, ("text", "id")), "id", ())


def scored(server: Server, *texts: str) -> list[Scored]:
    return asker(server).scored([{"id": f"id {text}", "text": text} for text in texts], 0, Path())


def test_a_row_that_fails_takes_no_other_with_it():
    """A call that a row spoils is made again for each row; the spoiler's error says nothing of a place in the call."""
    server = Server()
    found = scored(server, "a", "b", "refused", "c")
    assert [(row.id, row.answer, row.error) for row in found] == [
        ("id a", "A", None),
        ("id b", "B", None),
        ("id refused", None, "the text is refused"),
        ("id c", "C", None),
    ]
    assert server.calls == [["a", "b", "refused", "c"], ["a"], ["b"], ["refused"], ["c"]]


def test_a_row_that_the_model_fails_on_is_told_from_a_model_that_fails():
    """A model's failure is the row's own where the model still answers what it has answered before; else the run stops."""
    server = Server()
    found = scored(server, "a", "crash", "b")
    assert [row.error for row in found] == [None, "the text is crash", None]
    assert server.calls[-3:] == [["crash"], ["a"], ["b"]]
    with pytest.raises(ServerError):
        scored(Server(), "crash", "a")
    broken = Server()
    one = asker(broken)
    assert one.scored([{"id": 1, "text": "a"}], 0, Path())[0].answer == "A"
    broken.errors = {"a": ServerError, "b": ServerError}
    with pytest.raises(ServerError):
        one.scored([{"id": 2, "text": "b"}], 1, Path())


class Mortal(Server):
    """One whose process ends at a text, and is there again after a while."""

    errors = {"slow": DeadlineExceeded}

    def __init__(self, dies_at="kill"):
        super().__init__()
        self.dies_at, self.deaths, self.down = dies_at, 0, 0

    def __call__(self, texts, batch_size):
        if self.down:
            self.down -= 1
            raise ModelNotFound("it is being loaded")
        if self.dies_at in texts:
            self.deaths, self.down = self.deaths + 1, 2
            raise from_rpc("StatusCode.INTERNAL", "Stub process 'model_0_0' is not healthy.", "here")
        return super().__call__(texts, batch_size)


@pytest.mark.parametrize("texts", [("a", "kill", "b"), ("kill", "a", "b")])
def test_a_row_that_ends_the_models_process_is_found(monkeypatch, texts):
    """The model is waited for, also where it has answered nothing before, and the other rows are answered."""
    monkeypatch.setattr("hf2triton.batch_scoring.batch_client._PAUSE", 0.0)
    server = Mortal()
    found = {row.id.removeprefix("id "): (row.answer, row.error) for row in scored(server, *texts)}
    assert (found["a"], found["b"]) == (("A", None), ("B", None))
    assert "is not healthy" in found["kill"][1]
    assert server.deaths == 4, "once among others, and three times alone"


def test_a_model_that_stays_away_ends_the_run(monkeypatch):
    """Nobody waits for ever."""
    monkeypatch.setattr("hf2triton.batch_scoring.batch_client._PATIENCE", 0.0)
    with pytest.raises(ModelNotFound):
        scored(Mortal(), "kill", "a")


def test_a_row_that_takes_too_long_is_its_own_fault():
    """If the model answers others in time."""
    assert [row.error for row in scored(Mortal(), "a", "slow", "b")] == [None, "the text is slow", None]
    with pytest.raises(DeadlineExceeded):
        scored(Mortal(), "slow")


def test_a_server_that_is_gone_is_no_rows_fault():
    """What no row can help stops the run at once."""
    server = Server()
    with pytest.raises(ConnectionFailed):
        scored(server, "a", "gone", "b")
    assert len(server.calls) == 1


def test_results_come_in_order_and_little_is_read_ahead():
    """However long each takes, results are in the order of the items, and never are more than twice the threads under way."""
    read, done, first = [], [], threading.Event()

    def items():
        for number in range(20):
            read.append(number)
            assert len(read) - len(done) <= 6
            yield number

    def slow_first(number):
        # the first waits for a later one: it is done last, and still comes first
        first.wait(30) if number == 0 else first.set()
        return number * 10

    for item, result in in_order(slow_first, items(), 3):
        done.append(item)
        assert result == item * 10
    assert done == list(range(20))


def test_a_failure_ends_what_is_under_way():
    """An item's error comes out in its place, and no thread is left."""
    before = threading.active_count()
    results = in_order(lambda number: 1 / (number - 2), iter(range(10)), 2)
    assert [next(results)[0], next(results)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before
