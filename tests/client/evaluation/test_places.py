"""A breach names its place: the input, the row of its batch, the place in the output, and both values."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton_client.evaluation.compare import Greedy, Tolerance, compare, compare_greedy, finite
from hf2triton_client.evaluation.places import (
    Axis,
    Places,
    axes_of,
    describe_input,
    described,
    numbers_apart,
    texts_apart,
)

TIGHT = Tolerance(max_abs=0.1, mean_abs=10, cosine=0.9, argmax=1.0)
LABELS = {0: "NEGATIVE", 1: "NEUTRAL", 2: "POSITIVE"}
#: Four inputs in reverse order, two a batch.
PLACES = Places(
    items=(3, 2, 1, 0),
    describe=lambda item: describe_input({"text": ("zero", "one", "two", "three")}, item),
    row=lambda pair, index: pair % 2,
    axes=axes_of("logits", "token", LABELS),
)


def four(change=lambda arrays: None, shape=(5, 3)):
    """Pairs of equal arrays of four inputs, whose served sides were changed."""
    expected = [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1 for _ in range(4)]
    served = [array.copy() for array in expected]
    change(served)
    return list(zip(expected, served, strict=True))


def worst(change, tolerance=TIGHT, **places):
    return compare("logits", four(change), tolerance, replace(PLACES, **places)).worst


def test_nothing_wrong_has_no_place():
    """Only a breach has one."""
    assert compare("logits", four(), TIGHT, PLACES).worst is None


def test_the_largest_difference_is_named():
    """Not the first of those that are too large: the farthest, with its input, row, token, label and both values."""

    def change(served):
        served[1][0, 0] += 0.2
        served[2][3, 2] += 0.75
        served[3][4, 1] -= 0.3

    found = worst(change)
    assert (found.item, found.row, found.index) == (1, 0, (3, 2))
    assert (found.expected, found.served) == ("12", "12.75")
    assert found.sentence("exported") == (
        'text 1 ("one"), row 0 of its batch, token 3, label 2 (POSITIVE): PyTorch 12, exported 12.75'
    )
    assert worst(change, reference="alone").sentence().endswith(": alone 12, served 12.75")


def test_the_mean_difference_has_the_place_of_the_largest():
    """It is nowhere by itself."""

    def change(served):
        for array in served:
            array += 0.01
        served[2][1, 1] += 0.02

    found = worst(change, replace(TIGHT, mean_abs=1e-3))
    assert (found.item, found.index) == (1, (1, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(value):
    """Before any difference, however large, and before later ones of its kind."""

    def change(served):
        served[0][0, 0] += 1000
        served[1][2, 1] = value
        served[3][0, 0] = np.nan

    found = worst(change)
    assert (found.item, found.row, found.index, found.expected) == (2, 1, (2, 1), "8")
    assert found.served == f"{value:g}"


def test_the_row_of_the_smallest_cosine_is_named():
    """With the value in it that lies farthest from what was expected."""

    def change(served):
        served[2][4] = served[2][4][::-1] * [1, 1, 0.9]
        served[3][1] = [-4, 5, 6]

    found = worst(change, Tolerance(100, 100, cosine=0.99))
    assert (found.item, found.index, found.expected, found.served) == (0, (1, 0), "4", "-4")


def test_the_row_whose_best_entry_changed_is_named():
    """With the best entries of both sides."""

    found = compare(
        "logits",
        [(np.eye(3), np.eye(3)), (np.array([[0, 0, 1], [1.0, 1.28, 0.0]]), np.array([[0, 0, 1], [1.15, 1.14, 0.0]]))],
        Tolerance(0.15, 1, None, 1.0),
        replace(PLACES, items=None),
    )
    assert found.breaches == ("argmax agreement 0.8 is below 1",)
    assert found.worst.sentence() == (
        'text 1 ("one"), row 1 of its batch, token 1:'
        " PyTorch best label 1 (NEUTRAL) at 1.28, served best label 0 (NEGATIVE) at 1.15"
    )


def test_zeros_are_named():
    """A vector of nothing else before single values."""

    def change(served):
        served[0][1, 1] = served[0][2, 1] = 0
        served[2][3] = 0

    found = worst(change, Tolerance(1e3, 1e3, None))
    assert (found.item, found.index, found.expected, found.served) == (1, (3, 0), "10", "0")


def test_a_shape_is_named():
    """Both shapes, of the input that was asked, in whatever order it came."""

    def change(served):
        served[1] = served[1][:4]

    difference = compare("logits", four(change), TIGHT, PLACES)
    assert difference.breaches == ("row 2 has shape [4, 3], PyTorch gives [5, 3]",)
    assert difference.worst.sentence() == (
        'text 2 ("two"), row 1 of its batch: PyTorch shape [5, 3], served shape [4, 3]'
    )
    alone = compare("logits", [(np.ones((4, 2)), np.ones((3, 2)))], TIGHT)
    assert alone.worst.sentence() == "row 0: PyTorch shape [4, 2], served shape [3, 2]"


def test_a_number_alone_has_a_place_without_axes():
    """An output that is one number."""
    difference = compare("score", [(np.float32(1), np.float32(1)), (np.float32(1), np.float32(2))], TIGHT)
    assert difference.worst.sentence() == "row 1: PyTorch 1, served 2"


def test_rows_without_a_reference_have_a_place():
    """Where there is nothing to compare with, the first value that is not finite is named, counted over all calls."""
    arrays = [np.ones((2, 3)), np.ones((4, 3)), np.full((1, 3), np.nan)]
    arrays[1][2, 1] = np.inf
    places = Places(
        describe=lambda item: described("calibration row", item, "a line"), axes=axes_of("logits", "row", LABELS)
    )
    found = finite("logits", arrays, places).worst
    assert found.sentence("exported") == 'calibration row 4 ("a line"), label 1 (NEUTRAL): exported inf'
    assert finite("logits", arrays[:1], places).worst is None


def greedy(tokens, margin=1.0):
    ids = np.array([[token, 100] for token in tokens])
    return Greedy(np.array(tokens), ids, np.array([[0.0, -margin]] * len(tokens)))


VOCABULARY = {7: '" seven"', 9: '" nine"', 100: '" hundred"'}
TOKENS = Places(
    items=(2, 1, 0), describe=lambda item: f"text {item}", axes=(Axis("new token"), Axis("token id", VOCABULARY.get))
)


def test_a_greedy_text_names_both_tokens():
    """Of the text that went astray most, and the number of its first other token; the breaches name the same text."""
    pairs = [
        (greedy([5, 7, 9]), np.array([5, 7, 9])),
        (greedy([5, 7, 9]), np.array([5, 100, 9])),
        (greedy([5, 7, 9], 0.5), np.array([5, 7, 100])),
    ]
    difference = compare_greedy("token_ids", pairs, TIGHT, TOKENS)
    assert difference.breaches[0].startswith("text 1 is another from token 1 on")
    assert difference.worst.sentence() == (
        'text 1, new token 1: PyTorch token id 7 (" seven"), served token id 100 (" hundred")'
    )
    ended = compare_greedy("token_ids", [(greedy([5, 7]), np.array([5]))], TIGHT, TOKENS)
    assert ended.worst.served == "the end of the text"


@given(st.integers(0, 3), st.integers(0, 4), st.integers(0, 2), st.floats(0.2, 5))
def test_any_wrong_value_is_found_where_it_is(pair, token, label, size):
    """Whatever input, row, token and label it has."""

    def change(served):
        served[pair][token, label] += np.float32(size)

    found = worst(change)
    assert (found.item, found.row, found.index) == (3 - pair, pair % 2, (token, label))


def test_inputs_in_words():
    """The beginning of texts on one line, quoted; images by their number, and nothing of their bytes."""
    assert describe_input({"text": ("a", "b" * 100)}, 1) == f'text 1 ("{"b" * 59}…")'
    assert describe_input({"text": ("Who?",), "text_pair": ("It\nwas\x1b[31m me",)}, 0) == (
        'text 0 ("Who?", "It\\nwas\\u001b[31m me")'
    )
    assert describe_input({"text": ("a",), "text_pair": ("",)}, 0) == 'text 0 ("a", "")'
    assert describe_input({"text": ("",)}, 0) == 'text 0 ("")'
    assert describe_input({"image": (b"\x89PNG", b"\xff")}, 1) == "image 1"
    assert describe_input({"text_input": ("a",), "sampling_parameters": ("{}",)}, 0) == 'text 0 ("a")'


def test_values_are_told_apart():
    """Numbers have as few digits as show the difference, texts begin shortly before it."""
    assert numbers_apart(1.23456, 3.2) == ("1.235", "3.2")
    assert numbers_apart(100.12345, 100.12399) == ("100.123", "100.124")
    assert numbers_apart(1.0, 1.0) == ("1", "1")
    same = "word " * 20
    assert texts_apart(f"{same}one", f"{same}two") == ('"…word word word word one"', '"…word word word word two"')
    assert texts_apart("one", "two") == ('"one"', '"two"')


def test_what_is_written_as_json_has_the_place():
    """Numbers that JSON has no word for are texts."""

    def change(served):
        served[1][2, 1] = np.nan

    written = json.loads(json.dumps(compare("logits", four(change), TIGHT, PLACES).to_json(), allow_nan=False))
    assert written["worst"]["served"] == "nan"
    assert (written["worst"]["item"], written["worst"]["row"], written["worst"]["index"]) == (2, 1, [2, 1])
    assert written["worst"]["where"] == "token 2, label 1 (NEUTRAL)"
