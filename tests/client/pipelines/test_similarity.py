"""Embeddings compared and quantized, against sentence-transformers' own functions."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sentence_transformers.util import SimilarityFunction, quantize_embeddings
from sentence_transformers.util import maxsim as their_maxsim
from sentence_transformers.util import maxsim_pairwise as their_maxsim_pairwise

import hf2triton_client
from hf2triton_client.errors import InputError
from hf2triton_client.pipelines import similarity, sparse_vectors
from hf2triton_client.pipelines.similarity import EMPTY_DOCUMENT, maxsim, maxsim_pairwise
from hf2triton_client.pipelines.sparse_vectors import SparseVectors, as_sparse

NAMES = ("cosine", "dot", "euclidean", "manhattan")
#: Seeds of random embeddings; a share of zeros, as in sparse ones.
seeds, shares = st.integers(0, 1 << 16), st.sampled_from([0.0, 0.5, 0.95, 1.0])


def embeddings(seed: int, rows: int, dim: int = 7, zeros: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, dim)).astype(np.float32)
    return np.where(random.random((rows, dim)) < zeros, np.float32(0), values)


def token_embeddings(seed: int, texts: int) -> list[np.ndarray]:
    lengths = np.random.default_rng(seed).integers(1, 9, texts)
    return [embeddings(seed + index, int(length)) for index, length in enumerate(lengths)]


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds, zeros=shares, rows=st.integers(1, 4), others=st.integers(1, 4))
def test_similarities_equal_theirs(name, seed, zeros, rows, others):
    """Of all with all, of pairs and of single embeddings, dense and sparse, with embeddings that are all zeros."""
    a, b = embeddings(seed, rows, zeros=zeros), embeddings(seed + 1, others, zeros=zeros)
    expected = SimilarityFunction.to_similarity_fn(name)(a, b).numpy()
    pairs = SimilarityFunction.to_similarity_pairwise_fn(name)(a, a[::-1].copy()).numpy()
    np.testing.assert_allclose(similarity.similarity(name, a, b), expected, atol=1e-4)
    np.testing.assert_allclose(similarity.similarity(name, a[0], list(b)), expected[:1], atol=1e-4)
    np.testing.assert_allclose(similarity.similarity_pairwise(name, a, a[::-1]), pairs, atol=1e-4)
    sparse = [as_sparse(one) for one in (a, b, a[::-1])]
    np.testing.assert_allclose(sparse_vectors.similarity(name, *sparse[:2]), expected, atol=2e-3)
    np.testing.assert_allclose(sparse_vectors.similarity_pairwise(name, sparse[0], sparse[2]), pairs, atol=2e-3)


@given(seed=seeds, rows=st.integers(1, 4), others=st.integers(1, 5))
def test_maxsim_equals_theirs(seed, rows, others):
    """Of lists of texts of different lengths, of a single text, and of pairs."""
    queries, documents = token_embeddings(seed, rows), token_embeddings(seed + 1, others)
    expected = their_maxsim(queries, documents).numpy()
    np.testing.assert_allclose(maxsim(queries, documents), expected, atol=1e-4)
    np.testing.assert_allclose(maxsim(queries[0], documents), expected[:1], atol=1e-4)
    pairs = their_maxsim_pairwise(queries, queries[::-1]).numpy()
    np.testing.assert_allclose(maxsim_pairwise(queries, queries[::-1]), pairs, atol=1e-4)


def test_maxsim_is_computed_in_steps(monkeypatch):
    """Documents that are read a few at a time, also one that is longer than that, have the same scores."""
    queries, documents = token_embeddings(1, 3), token_embeddings(2, 20)
    expected = their_maxsim(queries, documents).numpy()
    for most in (1, 10, 40, 1000):
        monkeypatch.setattr(similarity, "_AT_ONCE", most)
        np.testing.assert_allclose(maxsim(queries, documents), expected, atol=1e-4)


def test_a_document_without_tokens_is_last():
    """It gets the score that sentence-transformers gives it, below every real one."""
    documents = [embeddings(0, 3), embeddings(1, 0), embeddings(2, 2)]
    expected = their_maxsim([embeddings(3, 2)], documents).numpy()
    np.testing.assert_allclose(maxsim(embeddings(3, 2), documents), expected, atol=1e-4)
    assert expected[0, 1] == np.float32(EMPTY_DOCUMENT)


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
@given(seed=seeds, rows=st.integers(2, 9), dim=st.integers(1, 19))
def test_quantized_embeddings_equal_theirs(precision, seed, rows, dim):
    """Bit by bit: with ranges of their own, given ones, those of other embeddings, and a dimension that never changes."""
    array, others = embeddings(seed, rows, dim), embeddings(seed + 1, 5, dim)
    array[:, 0] = 0.5
    ranges = np.stack([others.min(axis=0), others.max(axis=0)])
    for options in ({}, {"ranges": ranges}, {"calibration_embeddings": others}):
        ours = hf2triton_client.quantize_embeddings(array, precision, **options)
        theirs = quantize_embeddings(array, precision, **options)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    one = hf2triton_client.quantize_embeddings(array[0], precision, ranges)
    np.testing.assert_array_equal(one, quantize_embeddings(array[0], precision, ranges))


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
@given(seed=seeds, texts=st.integers(1, 4))
def test_quantized_token_embeddings_equal_theirs(precision, seed, texts):
    """All texts share their ranges."""
    arrays = [*token_embeddings(seed, texts), embeddings(seed, 2)]
    ours, theirs = (make(arrays, precision) for make in (hf2triton_client.quantize_embeddings, quantize_embeddings))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_ranges_of_few_embeddings(caplog):
    """A single embedding has no ranges, and those of few are said to be poor."""
    with pytest.raises(InputError, match="int8 needs the ranges of many embeddings, and there is one"):
        hf2triton_client.quantize_embeddings(embeddings(0, 1), "int8")
    with caplog.at_level(logging.WARNING):
        hf2triton_client.quantize_embeddings(embeddings(0, 2), "uint8")
        assert "the ranges of uint8 come from 2 embeddings only" in caplog.text
        caplog.clear()
        hf2triton_client.quantize_embeddings(embeddings(0, 100), "uint8")
        assert not caplog.records


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: hf2triton_client.quantize_embeddings(a, "int4"),
            "float32, int8, uint8, binary, ubinary, not 'int4'",
        ),
        (lambda a: hf2triton_client.quantize_embeddings(a > 0, "int8"), "should be floats"),
        (lambda a: hf2triton_client.quantize_embeddings(a, "int8", a), r"ranges should be \[2, 7\], not \[3, 7\]"),
        (lambda a: similarity.similarity("dot", a, a[:, :5]), "of 5 and 7 numbers"),
        (lambda a: similarity.similarity_pairwise("dot", a, a[:1]), "3 and 1 embeddings do not form pairs"),
        (lambda a: similarity.similarity("dot", a, "text"), "should be numbers"),
        (lambda a: maxsim([a[0]], a), r"for each text, not float32 \[7\]"),
        (lambda a: maxsim_pairwise([a], [a, a]), "1 and 2 embeddings do not form pairs"),
        (lambda a: sparse_vectors.similarity("dot", as_sparse(a), as_sparse(a[:, :5])), "of 7 and 5 numbers"),
        (lambda a: sparse_vectors.similarity_pairwise("dot", as_sparse(a), as_sparse(a[:1])), "3 and 1 embeddings"),
        (lambda a: as_sparse(np.array(["a"])), "SparseVectors or numbers"),
    ],
)
def test_what_cannot_be_compared(call, message):
    """The error says what does not fit."""
    with pytest.raises(InputError, match=message):
        call(embeddings(0, 3))


@given(seed=seeds, rows=st.integers(0, 5), zeros=shares)
def test_sparse_vectors_hold_rows(seed, rows, zeros):
    """Rows, slices and scipy's own compressed rows have the same numbers."""
    array = embeddings(seed, rows, zeros=zeros)
    vectors = as_sparse(array)
    assert vectors.shape == array.shape
    np.testing.assert_array_equal(vectors.dense(), array)
    theirs = csr_matrix((vectors.values, vectors.indices, vectors.indptr), shape=vectors.shape)
    np.testing.assert_array_equal(theirs.toarray(), array)
    np.testing.assert_array_equal(vectors[1:4].dense(), array[1:4])
    for index, row in enumerate(vectors):
        np.testing.assert_array_equal(row.dense()[0], array[index])
        np.testing.assert_array_equal(vectors[index - rows].dense()[0], array[index])
    with pytest.raises(IndexError):
        vectors[rows]


def test_no_rows_at_all():
    """Comparisons with nothing have no scores."""
    nothing, some = SparseVectors.of_rows([], 7), as_sparse(embeddings(0, 2))
    assert sparse_vectors.similarity("dot", some, nothing).shape == (2, 0)
    assert sparse_vectors.similarity("dot", nothing, some).shape == (0, 2)
    assert similarity.similarity("euclidean", embeddings(0, 2), embeddings(0, 0)).shape == (2, 0)
    assert hf2triton_client.quantize_embeddings(embeddings(0, 0), "int8").shape == (0, 7)
