"""An error while one request of a batch is read, run or answered ends that request alone, and is told in words of ours."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from hf2triton.triton_models.admission import Admission
from hf2triton.triton_models.batch_planner import Limits
from hf2triton.triton_models.inputs import decoded
from hf2triton.triton_models.parameters import FLAG, parse_parameters
from hf2triton.triton_models.preprocessor import Item, Preprocessor
from hf2triton.triton_models.rows import Busy, each_row

from .stub import Request, frontend

model = frontend("frontend")


class Panic(BaseException):
    """As pyo3's: no Exception."""


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError


#: What may be raised, by whatever runs.
RAISED = [
    Panic("a panic"),
    Unspeakable(),
    MemoryError(),
    RecursionError("too deep"),
    KeyError("text"),
    RuntimeError("lone \ud800 and \0"),
    RuntimeError("x" * 5_000_000),
]


class Words(Preprocessor):
    """A row for each text, with as many tokens as it has characters. `fails`: where texts that begin with "!" raise `error`."""

    inputs = {"text": True, "text_pair": False, "parameters": False}
    fails, error = "", None

    def values(self, arrays: Mapping[str, np.ndarray]) -> list[Any]:
        texts = [decoded("text", value, 1000) for value in arrays["text"].ravel()]
        for parameters in arrays.get("parameters", np.array([])).ravel():
            parse_parameters(decoded("parameters", parameters, 1 << 20), {"flag": FLAG})
        self._fail("values", texts)
        return texts

    def items(self, values: Sequence[Any], wanted: Any) -> list[Item | ValueError]:
        self._fail("items", values)
        return [Item([value]) for value in values]

    def feeds(self, rows: Sequence[Any], extra: int = 0) -> dict[str, np.ndarray]:
        self._fail("feeds", rows)
        return {"lengths": np.array([len(row) for row in rows]), "guilty": np.array([row[0] == "!" for row in rows])}

    def answers(self) -> Mapping[str, Any]:
        return {
            "echo": self._echo,
            "odd": lambda item, _: [item.rows[0]],
            "texts": lambda item, _: np.array(item.rows, object),
        }

    def _echo(self, item: Item, outputs: Any) -> np.ndarray:
        self._fail("answers", item.rows)
        return np.array([len(item.rows[0])])

    def _fail(self, where: str, texts: Sequence[str]) -> None:
        if where == self.fails and any(text.startswith("!") for text in texts):
            raise self.error


class Runner:
    workers = 1
    error = None

    def run(self, outputs, calls, side_by_side, awaited, keep):
        def rows(feeds):
            def call(start, stop):
                if self.error is not None and feeds["guilty"][start:stop].any():
                    raise self.error
                return [(np.array([[length] * 2]),) for length in feeds["lengths"][start:stop]]

            return each_row(call, len(feeds["lengths"]))

        return [
            [row if isinstance(row, Exception) else keep(index, place, row) for place, row in enumerate(rows(feeds))]
            for index, feeds in enumerate(calls)
        ]


@pytest.fixture
def served():
    """A model with a preprocessor and a runner of a few lines."""
    made = model.TritonPythonModel()
    made.outputs = {"logits": "token"}
    made.limits = Limits(call_price=1, max_rows=8, max_tokens=1000)
    made.preprocessor, made.executor = Words(), Runner()
    made.answers = made.preprocessor.answers()
    made.admission = Admission(lambda: None, 0, 8)
    return made


def batch(*texts: str, outputs: Sequence[str] = ("logits", "echo")) -> list[Request]:
    return [Request({"text": [text]}, outputs) for text in texts]


TEXTS = ["one", "two two", "!", "three", "4" * 90, "!!", "five"]


def assert_the_guilty_fail(responses, code="INTERNAL") -> list[str]:
    """The messages; all others are answered, each with its own answer."""
    told = []
    for text, response in zip(TEXTS, responses, strict=True):
        if text.startswith("!"):
            assert response.error is not None
            assert response.error.code == code
            assert response.error.message
            told.append(response.error.message)
        else:
            assert response.error is None
            assert response.outputs["echo"].tolist() == [[len(text)]]
            assert (response.outputs["logits"] == len(text)).all()
    return told


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["values", "items", "feeds", "answers"])
def test_whatever_is_raised_ends_its_own_request(served, where, error):
    """Wherever, even what is no Exception and has no text; the messages are short and hold no path."""
    served.preprocessor.fails, served.preprocessor.error = where, error
    for told in assert_the_guilty_fail(served.execute(batch(*TEXTS))):
        assert len(told) < 2300
        assert ".py" not in told


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_a_graph_that_fails_for_some_rows_answers_the_others(served, error):
    """With the code of a model that failed."""
    served.executor.error = error
    assert all("input 0: the graph failed: " in told for told in assert_the_guilty_fail(served.execute(batch(*TEXTS))))


def test_a_graph_that_takes_no_calls_is_busy(served):
    """A caller may try again, which the code says."""
    served.executor.error = Busy("its queue is full")
    [response] = served.execute(batch("!"))
    assert response.error.code == "UNAVAILABLE"
    assert "its queue is full" in response.error.message


@pytest.mark.parametrize("output", ["nope", "odd", "texts"])
def test_an_answer_that_triton_does_not_take_is_one_error(served, output):
    """An output that does not exist, one that is no array, and one whose texts were not encoded."""
    requests = [Request({"text": [text]}, [output] if text[0] == "!" else ["logits", "echo"]) for text in TEXTS]
    assert_the_guilty_fail(served.execute(requests))


def test_a_request_that_does_not_say_what_it_wants_is_one_error(served):
    """`requested_output_names` may raise as well."""
    requests = [
        Request({"text": [text]}, RuntimeError("gone") if text[0] == "!" else ["logits", "echo"]) for text in TEXTS
    ]
    assert_the_guilty_fail(served.execute(requests))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text_pair": ["b"]}, "the input text is missing: there is only text_pair"),
        ({"parameters": ["{}"]}, "the input text is missing: there is only parameters"),
        (
            {"text_pair": ["b"], "parameters": ["{}"]},
            "the input text is missing: there is only text_pair and parameters",
        ),
        ({"text": ["a", "b", "c"], "text_pair": ["d", "e"]}, "there are text 3, text_pair 2"),
        ({"text": ["a"], "parameters": ["{}", "{}"]}, "there are text 1, parameters 2"),
        ({"text": []}, "at least one: there are text 0"),
        ({"text": [b"\xff"]}, "text is not UTF-8"),
        ({"text": ["x" * 1001]}, "text has 1,001 bytes; at most 1,000 are taken"),
        ({"text": np.array([1])}, ""),
        ({"text": ["a"], "parameters": ['{"\\ud800": 1}']}, r"the parameters have \ud800, half of a surrogate pair"),
        (
            {"text": ["a"], "parameters": ['{"flag": "\\udfff"}']},
            r"the parameters have \udfff, half of a surrogate pair",
        ),
        ({"text": ["a"], "parameters": ['{"flag": ' + "[" * 900 + "]" * 900 + "}"]}, "flag must be true or false, not"),
        ({"text": ["a"], "parameters": ["[" * 100_000]}, "the parameters are not JSON"),
        ({"text": ["a"], "parameters": ['{"flag": 1' + "0" * 4000 + "}"]}, "flag must be true or false, not 1000"),
        ({"text": ["a"], "parameters": ['{"flag": 1' + "0" * 5000 + "}"]}, ""),
        ({"text": ["a"], "parameters": ['{"flag": NaN}']}, "flag must be true or false, not NaN"),
        ({"text": ["a"], "parameters": ['{"flag": -Infinity}']}, "flag must be true or false, not -Infinity"),
        (
            {"text": ["a"], "parameters": [json.dumps(dict.fromkeys(map(str, range(10_000)), 0))]},
            "unknown parameters 0",
        ),
        ({"text": ["a"], "parameters": [json.dumps("x" * 200_000)]}, "at most 131,072 are taken"),
    ],
    ids=range(19),
)
def test_bad_requests_are_told_what_is_wrong(served, inputs, message):
    """In whatever combination of inputs and whatever JSON, and their neighbours are answered."""
    requests = [Request({"text": [text]} if text[0] != "!" else inputs, ("logits", "echo")) for text in TEXTS]
    code = "INTERNAL" if isinstance(inputs.get("text"), np.ndarray) else "INVALID_ARG"
    assert all(message in told for told in assert_the_guilty_fail(served.execute(requests), code))


@pytest.mark.parametrize("error", [SystemExit("left"), KeyboardInterrupt()])
def test_a_batch_that_cannot_be_run_at_all_is_told_so(served, error):
    """Even what ends a process is an answer for each request: raised, it would be Triton's, with paths of the server."""
    served.preprocessor.fails, served.preprocessor.error = "items", error
    for response in served.execute(batch("one", "!")):
        assert response.error.code == "INTERNAL"
        assert type(error).__name__ in response.error.message or str(error) in response.error.message


def test_results_that_are_too_few_are_an_error(served):
    """Rather than the neighbour's."""
    served.preprocessor.items = lambda values, wanted: [Item([value]) for value in values if value != "!"]
    responses = served.execute(batch(*TEXTS))
    assert responses[2].error is not None
    assert [response.outputs["echo"].tolist() for response in responses if response.error is None] == [
        [[len(text)]] for text, response in zip(TEXTS, responses, strict=True) if response.error is None
    ]
