"""From logits to answers, against transformers and tokenizers themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tokenizers import decoders

from hf2triton_client.pipelines.postprocess import normalize, sigmoid, softmax
from hf2triton_client.pipelines.token_decoders import WordPieceDecoder

logits = arrays(np.float32, array_shapes(min_dims=1, max_dims=3, max_side=5), elements=st.floats(-1e4, 1e4, width=32))


@given(logits)
def test_softmax_equals_torch(values):
    """softmax gives torch's values, also where exp alone would overflow."""
    np.testing.assert_allclose(softmax(values), torch.softmax(torch.tensor(values), -1).numpy(), atol=1e-6)


@given(logits)
def test_sigmoid_equals_torch(values):
    """sigmoid gives torch's values without overflow."""
    with np.errstate(over="raise"):
        np.testing.assert_allclose(sigmoid(values), torch.sigmoid(torch.tensor(values)).numpy(), atol=1e-6)


def test_normalize_leaves_zero_vectors():
    """A zero vector stays zero instead of becoming NaN."""
    np.testing.assert_array_equal(normalize(np.array([[0.0, 0.0], [3.0, 4.0]])), [[0, 0], [0.6, 0.8]])


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@given(data=st.data())
def test_aggregation_equals_transformers(strategy, data):
    """Random token scores are grouped as transformers' own pipeline groups them."""
    from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

    from hf2triton_client.pipelines.postprocess import Token, group_entities, words_of

    id2label = {0: "O", 1: "B-PER", 2: "I-PER", 3: "LOC"}
    count = data.draw(st.integers(0, 8))
    scores = data.draw(arrays(np.float32, (count, 4), elements=st.floats(0, 1, width=32)))
    continues = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    decoder = decoders.WordPiece()
    theirs = object.__new__(TokenClassificationPipeline)
    theirs.tokenizer = type("T", (), {"convert_tokens_to_string": staticmethod(decoder.decode)})
    theirs.model = type("M", (), {"config": type("C", (), {"id2label": id2label})})
    pieces = [f"##w{index}" if sub else f"w{index}" for index, sub in enumerate(continues)]
    pre = [
        {
            "word": pieces[i],
            "scores": scores[i],
            "start": 3 * i,
            "end": 3 * i + 2,
            "index": i,
            "is_subword": continues[i],
        }
        for i in range(count)
    ]
    expected = theirs.aggregate(pre, AggregationStrategy[strategy.upper()])
    tokens = [Token(pieces[i], scores[i], 3 * i, 3 * i + 2, i, continues[i]) for i in range(count)]
    ours = words_of(tokens, strategy, id2label, WordPieceDecoder())
    if strategy != "none":
        ours = group_entities(ours, WordPieceDecoder())
    assert [list(entity) for entity in ours] == [list(entity) for entity in expected]
    assert ours == expected
