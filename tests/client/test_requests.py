"""How the inputs of a call become requests: bounded in items and in bytes, and refused before they are sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton_client import InputError, ServedModel
from hf2triton_client.served_model import MAX_REQUEST_BYTES

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
    """As many together as a front takes in bytes; one that leaves no room for others goes alone."""
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
    with pytest.raises(InputError, match="^text 1 has 4,194,304 bytes; at most 4,194,303 are taken$"):
        list(MODEL.requests({"text": texts}, ["logits"], 8))
