"""question-answering through the real server, against what transformers 4 answered (5 has no such pipeline)."""

import json
from itertools import zip_longest

import pytest

from hf2triton_client import InputError, pipeline

from ..conftest import asset, entry_name
from ..support import RECORDS, assert_outputs_match, sample_of

RECORD = json.loads((RECORDS / "question_answering.json").read_text(encoding="utf-8"))
#: The server's tokenizers pad and cut on the right, as those of BERT and DistilBERT do.
CASES = [case for case in RECORD["cases"] if not case["sides"]]
SERVED = [("fp32", "inprocess"), ("fp16", "inprocess"), ("fp16", "bls")]
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}


@pytest.fixture(scope="module", params=SERVED, ids="-".join)
def served(request, server):
    precision, runner = request.param
    name = entry_name("bert", "question-answering", precision, runner)
    with pipeline("question-answering", model=name, url=server.url) as opened:
        yield opened, TOLERANCE[precision]


def assert_same_spans(expected, actual, atol):
    """Scores within `atol`, and the same spans but for those whose scores lie closer together than that.

    Where a context has too few spans, transformers fills up with some of score 0, which depend on numpy's version: what one
    side lacks counts as such.
    """
    expected, actual = ([value] if isinstance(value, dict) else value for value in (expected, actual))
    assert all(list(answer) == ["score", "start", "end", "answer"] for answer in actual)
    scores = [[answer["score"] for answer in answers] for answers in (expected, actual)]
    for one, other in zip_longest(*scores, fillvalue=0.0):
        assert other == pytest.approx(one, abs=atol)
    spans = {(answer["start"], answer["end"], answer["answer"]) for answer in actual}
    for answer in expected:
        if answer["score"] > expected[-1]["score"] + atol or (answer is expected[0] and answer["score"] > 0.5 + atol):
            assert (answer["start"], answer["end"], answer["answer"]) in spans


def test_answers_are_those_of_transformers_4(served):
    """Spans, scores, order and offsets are equal, over windows, strides, impossible answers, emoji and lists."""
    ask, atol = served
    assert len(CASES) > 80
    for case in CASES:
        answer = ask(question=case["question"], context=case["context"], **case["options"])
        if isinstance(case["question"], list):
            assert len(answer) == len(case["result"])
            for one, other in zip(case["result"], answer, strict=True):
                assert_same_spans(one, other, atol)
        else:
            assert_same_spans(case["result"], answer, atol)


def test_fp32_answers_are_exact(server):
    """In fp32 the best answer is the same to the character in every case where there is one."""
    with pipeline(model=entry_name("bert", "question-answering", "fp32"), url=server.url) as ask:
        for case in CASES:
            if isinstance(case["result"], dict) and case["result"]["score"] > 1e-3:
                answer = ask({"question": case["question"], "context": case["context"]}, **case["options"])
                assert_outputs_match(case["result"], answer, 1e-4)


def test_many_questions_at_once_are_answered_in_order(served):
    """Items with different numbers of windows share batches without mixing up their answers."""
    ask, atol = served
    chosen = [case for case in CASES if isinstance(case["question"], str) and not case["options"]]
    asked = [{"question": case["question"], "context": case["context"]} for case in chosen]
    for case, answer in zip(chosen, ask(asked), strict=True):
        assert_same_spans(case["result"], answer, atol)


def test_answers_are_right_as_often_as_in_training(served):
    """On questions that were held out, the served model finds as many answers as the card of the checkpoint says."""
    ask, _ = served
    rows = sample_of(asset("bert", "question-answering"))
    answers = ask(
        [{"question": row["question"], "context": row["context"]} for row in rows], handle_impossible_answer=True
    )
    right = sum(answer["answer"] == row["answer"] for answer, row in zip(answers, rows, strict=True))
    assert right / len(rows) > 0.85


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "Who?"}, "both question=… and context=…"),
        ({}, "takes question=… and context=…"),
        ({"question": ["a", "b"], "context": ["c"]}, "2 questions and 1 contexts"),
        ({"question": "", "context": "c"}, "text 0 is empty"),
        ({"question": "a", "context": "c", "top_k": 0}, "top_k must be an integer from 1"),
        ({"question": "a", "context": "c", "doc_stride": "far"}, "doc_stride must be"),
        ({"question": "a", "context": "c " * 20000}, "windows; at most 64 are taken"),
    ],
)
def test_questions_that_cannot_be_asked(served, arguments, message):
    """Bad arguments are refused with a reason, by the client or by the server."""
    ask, _ = served
    with pytest.raises(InputError, match=message):
        ask(**arguments)
