"""Retrieval over a whole corpus, as MTEB measures it: served in fp16, against sentence-transformers in fp32 on the same folders.

The corpus: all passages that Nave's Topical Bible lists for 60 topics, of which each topic is a query.
"""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder
from sklearn.metrics import ndcg_score

from hf2triton.demo.examples import weights
from hf2triton.serving import Server
from hf2triton_client import pipeline

from ..conftest import asset, entry_name
from ..support import ASSETS, sample_of

#: How far scores of documents may be apart, relative to the best one's, that may change places: fp16 has eleven bits.
CLOSE = 2e-3


def corpus() -> tuple[list[str], list[str], np.ndarray]:
    """60 queries, 522 documents, and what is relevant, `[queries, documents]`."""
    rows = sample_of(ASSETS / "bert-rerank")
    documents = sorted({document for row in rows for document in row["documents"]})
    place = {document: number for number, document in enumerate(documents)}
    relevant = np.zeros((len(rows), len(documents)))
    for number, row in enumerate(rows):
        for document, gain in zip(row["documents"], row["relevance"], strict=True):
            relevant[number, place[document]] = gain
    return [row["query"] for row in rows], documents, relevant


def assert_retrieves_the_same(theirs, ours, least: float) -> None:
    """NDCG@10 within 0.001, and documents in the same order but for those whose scores are as good as equal."""
    queries, documents, relevant = corpus()
    expected = np.asarray(theirs.similarity(theirs.encode_query(queries), theirs.encode_document(documents)))
    served = ours.similarity(ours.encode_query(queries), ours.encode_document(documents))
    right, ndcg = ndcg_score(relevant, expected, k=10), ndcg_score(relevant, served, k=10)
    print(f"\nNDCG@10 served in fp16 {ndcg:.4f}, sentence-transformers in fp32 {right:.4f}", end=" ")
    assert right > least
    assert abs(ndcg - right) <= 0.001
    ranked = np.take_along_axis(expected, np.argsort(-served, axis=1)[:, :10], axis=1)
    best = np.sort(expected, axis=1)[:, ::-1][:, :10]
    assert (np.abs(ranked - best) <= CLOSE * best[:, :1]).all()


@pytest.mark.slow
def test_embeddings_of_real_weights(minilm):
    """all-MiniLM-L6-v2, by the cosine."""
    with Server(minilm) as server, pipeline("sentence-similarity", model="minilm", url=server.url) as ours:
        assert_retrieves_the_same(SentenceTransformer(str(weights()), device="cpu"), ours, 0.3)


def test_sparse_embeddings(server):
    """By the weights of tokens in common. The model was trained to fill blanks, so that it finds little."""
    with pipeline("sparse-embedding", model=entry_name("bert", "sparse-embedding", "fp16"), url=server.url) as ours:
        theirs = SparseEncoder(str(asset("bert", "sparse-embedding")), device="cpu")
        assert_retrieves_the_same(theirs, ours, 0.02)
