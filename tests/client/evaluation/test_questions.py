"""Answers are compared by what they say: what differs is a breach unless PyTorch's own answer leaves it open."""

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.questions import Questions, compare_answers

TOLERANCE = Tolerance(0.05, 0.02, None)


def compared(expected, served, **other):
    return compare_answers([expected], [served], TOLERANCE, **other)


def ranked(**scores):
    return [{"label": label, "score": score} for label, score in scores.items()]


def entity(kind, start, end, score=0.99, word="Ann", key="entity_group"):
    return {key: kind, "score": score, "word": word, "start": start, "end": end}


def span(start, answer, score=0.9):
    return {"score": score, "start": start, "end": start + len(answer), "answer": answer}


def token(number, score, text="x"):
    return {"score": score, "token": number, "token_str": text, "sequence": f"a {text}"}


def zero_shot(**scores):
    return {"sequence": "a", "labels": list(scores), "scores": list(scores.values())}


#: What PyTorch says, and what is served instead.
SAME = {
    "a label": (ranked(A=0.9), ranked(A=0.91)),
    "a label that stands alone": ({"label": "A", "score": 0.9}, {"label": "A", "score": 0.9}),
    "labels in another order": (ranked(A=0.5, B=0.5), ranked(B=0.51, A=0.49)),
    "the last of a ranking": (ranked(A=0.5, B=0.1, C=0.09), ranked(A=0.5, B=0.1, D=0.08)),
    "the last two of a ranking": (ranked(A=0.5, B=0.1, C=0.09), ranked(A=0.5, D=0.1, E=0.09)),
    "zero-shot": (zero_shot(A=0.6, B=0.4), zero_shot(B=0.41, A=0.59)),
    "entities": ([entity("PER", 0, 3), entity("LOC", 7, 9)], [entity("PER", 0, 3), entity("LOC", 7, 9, 0.97)]),
    "no entities": ([], []),
    "a span": (span(3, "Ann"), span(3, "Ann", 0.89)),
    "tokens": ([token(1, 0.5), token(2, 0.1)], [token(1, 0.5), token(3, 0.1)]),
    "several masks": (
        [[token(1, 0.5), token(2, 0.1)], [token(1, 0.4), token(2, 0.2)]],
        [[token(1, 0.5), token(3, 0.1)], [token(1, 0.4), token(4, 0.2)]],
    ),
    "similarities": ([0.5, -0.5], [0.52, -0.5]),
    "a text": ([{"generated_text": " and so on"}], [{"generated_text": " and so on"}]),
    "nothing": (None, None),
}
OTHER = {
    "labels swapped": (ranked(A=0.9, B=0.1), ranked(B=0.9, A=0.1)),
    "a label renamed": (ranked(A=0.9, B=0.1), ranked(C=0.9, B=0.1)),
    "the last label renamed": (ranked(A=0.9, B=0.1), ranked(A=0.9, C=0.1)),
    "another label, as good": (ranked(A=0.9), ranked(B=0.9)),
    "another label alone, as good": ({"label": "A", "score": 0.5}, {"label": "B", "score": 0.5}),
    "the last of a ranking, better": (ranked(A=0.5, B=0.2, C=0.1), ranked(A=0.5, B=0.2, D=0.16)),
    "the last of a ranking, where no room is left": (ranked(A=0.6, B=0.2, C=0.2), ranked(A=0.6, B=0.2, D=0.2)),
    "the best of a ranking": (ranked(A=0.5, B=0.1, C=0.1), ranked(D=0.5, B=0.1, C=0.1)),
    "a shorter ranking": (ranked(A=0.5, B=0.1, C=0.09), ranked(A=0.5, B=0.1)),
    "a longer ranking": (ranked(A=0.5, B=0.1), ranked(A=0.5, B=0.1, C=0.09)),
    "zero-shot": (zero_shot(A=0.6, B=0.4), zero_shot(B=0.6, A=0.4)),
    "zero-shot with another label": (zero_shot(A=0.6, B=0.4), zero_shot(A=0.6, C=0.4)),
    "an entity missing": ([entity("PER", 0, 3)], []),
    "an entity too many": ([], [entity("PER", 0, 3)]),
    "an entity of another kind, as good": ([entity("PER", 0, 3)], [entity("ORG", 0, 3)]),
    "entities of other kinds, as good": (
        [entity("A", 0, 3), entity("A", 5, 8)],
        [entity("B", 0, 3), entity("B", 5, 8)],
    ),
    "an entity elsewhere": ([entity("PER", 0, 3)], [entity("PER", 0, 4)]),
    "a token of another kind": ([entity("B-PER", 0, 3, key="entity")], [entity("I-PER", 0, 3, key="entity")]),
    "another span, as good": (span(3, "Ann"), span(9, "Ann")),
    "another text of a span": (span(3, "Ann"), span(3, "Bob")),
    "no answer": (span(3, "Ann"), span(0, "")),
    "another token": ([token(1, 0.5), token(2, 0.1)], [token(3, 0.5), token(2, 0.1)]),
    "a token written otherwise": ([token(1, 0.5), token(2, 0.1)], [token(1, 0.5, "y"), token(2, 0.1)]),
    "masks swapped": (
        [[token(1, 0.5), token(2, 0.1)], [token(3, 0.5), token(4, 0.1)]],
        [[token(3, 0.5), token(4, 0.1)], [token(1, 0.5), token(2, 0.1)]],
    ),
    "a mask missing": ([[token(1, 0.5)], [token(1, 0.5)]], [[token(1, 0.5)]]),
    "similarities swapped": ([0.5, 0.4], [0.4, 0.5]),
    "a similarity missing": ([0.5, 0.4], [0.5]),
    "another text": ([{"generated_text": " and so on"}], [{"generated_text": " and so forth"}]),
    "a NaN": (ranked(A=0.9, B=0.1), ranked(A=math.nan, B=0.1)),
    "a NaN after a number": ([0.5, 0.4], [0.5, math.nan]),
    "a NaN in place of the last": (ranked(A=0.5, B=0.1, C=0.1), ranked(A=0.5, B=0.1, D=math.nan)),
    "an answer where there is none": (None, span(3, "Ann")),
    "a difference within the largest, all of them above the mean": ([0.5, 0.4], [0.53, 0.43]),
}


@pytest.mark.parametrize(("expected", "served"), SAME.values(), ids=SAME)
def test_the_same_answers_pass(expected, served):
    """With scores within the tolerance; at the end of a ranking that is cut off, either of two that are as good may stand."""
    assert compared(expected, served).breaches == ()
    assert compared(served, expected).breaches == ()


@pytest.mark.parametrize(("expected", "served"), OTHER.values(), ids=OTHER)
def test_other_answers_are_breaches(expected, served):
    """Also where their scores are as good: nothing that PyTorch says makes them right."""
    assert compared(expected, served).breaches
    assert compared(served, expected).breaches


@pytest.mark.parametrize(
    "name",
    ["another label, as good", "an entity missing", "an entity of another kind, as good", "no answer", "another text"],
)
def test_near_ties_are_open(name):
    """Where PyTorch's tensors leave a row open it may say anything else, and no other row may."""
    expected, served = OTHER[name]
    assert compared(expected, served, ties=[True]).passed
    assert not compared(expected, served, ties=[False]).passed
    difference = compare_answers([expected, expected], [served, served], TOLERANCE, [True, False])
    assert [breach.partition(":")[0] for breach in difference.breaches] == ["row 1"]


@pytest.mark.parametrize("name", ["labels swapped", "similarities swapped", "a NaN", "the best of a ranking"])
def test_near_ties_excuse_no_scores(name):
    """They are of what is best: the scores of what both say, and rankings, tell for themselves."""
    assert not compared(*OTHER[name], ties=[True]).passed


def test_differences_are_measured():
    """Of the scores of what both say, and the share of rows that say the same."""
    difference = compare_answers(
        [ranked(A=0.5, B=0.4), ranked(A=0.9), []], [ranked(A=0.47, B=0.4), ranked(B=0.9), []], TOLERANCE
    )
    assert (difference.output, difference.rows, difference.argmax) == ("answers", 3, pytest.approx(2 / 3))
    assert (difference.max_abs, difference.mean_abs) == (pytest.approx(0.03), pytest.approx(0.015))
    assert difference.breaches == ("row 1: PyTorch says A (0.9), served is B (0.9)",)


def test_a_breach_tells_who_says_what():
    """What one side says alone, or else the best that it says; long texts are cut."""
    assert compared([entity("PER", 0, 3)], []).breaches == (
        "row 0: PyTorch says ('PER', 0, 3, 'Ann') (0.99), served is nothing",
    )
    assert compared([], [entity("PER", 0, 3)]).breaches == (
        "row 0: PyTorch says nothing, served is ('PER', 0, 3, 'Ann') (0.99)",
    )
    (breach,) = compared("a" * 200, "b" * 200).breaches
    assert breach == f"row 0: PyTorch says {'a' * 59}… (1), served is {'b' * 59}… (1)"


def worst_of(expected, served, **other):
    questions = Questions(("a", {"question": "Who?", "context": "Ann."}, b"\x89PNG"))
    return compare_answers(expected, served, TOLERANCE, describe=questions.describe, **other).worst


def test_the_question_is_named():
    """The first that is answered otherwise, with what both say; images by their number."""
    right = [ranked(A=0.9), span(3, "Ann"), ranked(A=0.9)]
    assert worst_of(right, right) is None
    found = worst_of(right, [right[0], span(9, "Bob"), ranked(B=0.9)])
    assert found.sentence() == (
        "question 1 (\"Who?\", \"Ann.\"): PyTorch (3, 6, 'Ann') (0.9), served (9, 12, 'Bob') (0.9)"
    )
    assert worst_of(right, [*right[:2], ranked(B=0.9)]).place == "image 2"


def test_the_farthest_score_is_named():
    """Where all say the same, the answer with the score that is farthest away; of lists, which of it; a NaN before all."""
    right = [[0.5, 0.4], [0.9, 0.1], [0.3, 0.3]]
    found = worst_of(right, [[0.5, 0.48], [0.9, 0.3], [0.3, 0.3]])
    assert found.sentence() == 'question 1 ("Who?", "Ann."), answer 1: PyTorch 0.1, served 0.3'
    found = worst_of(right, [[0.5, 0.48], [0.9, 0.3], [math.nan, 0.3]])
    assert (found.item, found.served) == (2, "nan")
    found = worst_of([ranked(A=0.9, B=0.1)], [ranked(A=0.8, B=0.1)])
    assert (found.expected, found.served) == ("A at 0.9", "A at 0.8")


def test_long_texts_are_told_from_where_they_differ():
    """What they have in common is not repeated."""
    same = "and so on " * 20
    found = worst_of([[{"generated_text": f"{same}one"}]], [[{"generated_text": f"{same}two"}]])
    assert (found.expected, found.served) == ('"…and so on and so on one"', '"…and so on and so on two"')


def test_a_nan_is_told():
    """As the largest difference, wherever it stands among others."""
    for position in range(3):
        served = [0.5, 0.5, 0.5]
        served[position] = math.nan
        difference = compared([0.5, 0.5, 0.5], served)
        assert math.isnan(difference.max_abs)
        assert len(difference.breaches) == 2


def test_nothing_to_compare_is_a_breach():
    """And answers for other questions are an error."""
    assert compare_answers([], [], TOLERANCE).breaches == ("nothing to compare",)
    with pytest.raises(ValueError, match="shorter"):
        compare_answers([[]], [], TOLERANCE)
    with pytest.raises(ValueError, match="an answer with what cannot be compared"):
        compared({"what": 1}, {"what": 1})


@given(
    st.lists(st.floats(0.001, 1), min_size=7, max_size=7, unique=True),
    st.lists(st.floats(-0.025, 0.025), min_size=7, max_size=7),
    st.integers(2, 7),
)
def test_scores_that_move_within_the_tolerance_pass(weights, moves, top):
    """Whatever that does to the order and to what is cut off."""
    tolerance = Tolerance(0.051, 1.0, None)
    scores = {label: weight / sum(weights) for label, weight in zip("ABCDEFG", weights, strict=True)}
    common = sum(moves) / len(moves)  # they are still probabilities: together 1
    moved = {label: score + move - common for (label, score), move in zip(scores.items(), moves, strict=True)}

    def best(of):
        return ranked(**dict(sorted(of.items(), key=lambda pair: -pair[1])[:top]))

    assert compare_answers([best(scores)], [best(moved)], tolerance).breaches == ()


class Recorder:
    """A pipeline that says what it was asked. Waits until `at_once` calls are under way."""

    def __init__(self, at_once=1):
        self.barrier = threading.Barrier(at_once)

    def __call__(self, one, **options):
        self.barrier.wait(20)
        return (one, options)

    def logprobs(self, one, **options):
        return ("logprobs", one, options)


def test_questions_are_asked_in_order_and_at_once():
    """Each in a call of its own, with the options of all and, before them, its own."""
    questions = Questions(tuple("abcd"), {"top_k": 1, "x": 0}, each=({}, {"top_k": 2}, {"y": 3}, {}))
    expected = [
        ("a", {"top_k": 1, "x": 0}),
        ("b", {"top_k": 2, "x": 0}),
        ("c", {"top_k": 1, "x": 0, "y": 3}),
        ("d", {"top_k": 1, "x": 0}),
    ]
    assert questions.ask(Recorder(2), in_flight=2) == expected
    assert questions.ask(Recorder(), in_flight=1) == expected
    assert len(questions) == 4


def test_a_method_may_be_asked():
    """In place of the pipeline itself."""
    assert Questions(("a",), method="logprobs").ask(Recorder()) == [("logprobs", "a", {})]


def test_what_a_pipeline_raises_is_raised():
    """No answer is left out."""
    with pytest.raises(ZeroDivisionError):
        Questions((1, 0)).ask(lambda one: 1 / one)
