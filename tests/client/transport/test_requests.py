"""How the inputs of a call become requests: bounded in items and in bytes, and refused before they are sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton.triton_models import inputs
from hf2triton_client import InputError
from hf2triton_client.transport.served_model import LARGE, LARGE_BYTES, MAX_REQUEST_BYTES, ServedModel

MODEL = ServedModel("model", {"outputs": {"logits": "row"}, "max_bytes": MAX_REQUEST_BYTES - 1}, max_batch_size=8)


def sizes_of(lengths, rows=100):
    """The lengths of the texts of each request, and the number of its first."""
    requests = list(MODEL.requests({"text": ["x" * length for length in lengths]}, ["logits"], rows))
    firsts = [request.first for request in requests]
    ends = [*firsts[1:], len(lengths)]
    for request, first, end in zip(requests, firsts, ends, strict=True):
        assert list(request.message.inputs[0].shape) == [end - first, 1]
    return [list(lengths[first:end]) for first, end in zip(firsts, ends, strict=True)]


def test_long_texts_go_in_several_requests():
    """As many together as a frontend takes in bytes; one that leaves no room for others goes alone."""
    third, most = MAX_REQUEST_BYTES // 3, MAX_REQUEST_BYTES - 1
    assert sizes_of([third, third, third, third, 1, most, 1]) == [[third, third, third], [third, 1], [most, 1]]


@given(st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40), st.integers(1, 10))
def test_requests_keep_to_all_bounds(lengths, rows):
    """All texts are sent, in their order."""
    parts = sizes_of(lengths, rows)
    assert [length for part in parts for length in part] == lengths
    assert all(len(part) <= min(rows, 8) and sum(part) <= MAX_REQUEST_BYTES for part in parts)


def test_nothing_is_asked_for_no_texts():
    """An empty list makes no request."""
    assert list(MODEL.requests({"text": []}, ["logits"], 8)) == []


def test_both_texts_of_a_pair_count():
    """A request of pairs is as large as all of its texts."""
    half = ["x" * (MAX_REQUEST_BYTES // 2)] * 2
    requests = list(MODEL.requests({"text": half, "text_pair": half}, ["logits"], 8))
    assert [request.first for request in requests] == [0, 1]


def test_what_is_too_long_is_not_sent():
    """The error names the input and the limit, which the model's config says."""
    texts = ["short", "x" * MAX_REQUEST_BYTES]
    with pytest.raises(InputError, match=r"^text 1 has 4,194,304 bytes; at most 4,194,303 are taken$"):
        list(MODEL.requests({"text": texts}, ["logits"], 8))


def test_client_and_frontends_have_the_same_bounds():
    """The client sends what frontends take, and names the input by which Triton keeps requests apart as they do."""
    assert MAX_REQUEST_BYTES == inputs.MAX_REQUEST_BYTES
    assert LARGE == inputs.LARGE


@pytest.mark.parametrize(
    ("sizes", "is_large"),
    [([1], False), ([LARGE_BYTES - 1], False), ([LARGE_BYTES], True), ([LARGE_BYTES // 2] * 3, True)],
)
def test_large_requests_are_kept_apart(sizes, is_large):
    """Triton merges requests that have the same inputs: a large one has one more, of as many rows."""
    model = ServedModel("m", {"outputs": {"logits": "row"}, "inputs": {"image": True, LARGE: False}}, 8)
    [request] = model.requests({"image": [bytes(size) for size in sizes]}, ["logits"], 8)
    marks = [list(one.shape) for one in request.message.inputs if one.name == LARGE]
    assert marks == [[len(sizes), 1]] * is_large
    assert request.message.raw_input_contents[1:] == [bytes(len(sizes))] * is_large


def test_older_entries_are_sent_what_they_take():
    """An entry without that input gets none."""
    [request] = ServedModel("m", {"outputs": {"logits": "row"}, "inputs": {"image": True}}, 8).requests(
        {"image": [bytes(5 * LARGE_BYTES)]}, ["logits"], 8
    )
    assert [one.name for one in request.message.inputs] == ["image"]
