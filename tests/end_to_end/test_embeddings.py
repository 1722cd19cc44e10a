"""Embeddings of all kinds through the real server, against sentence-transformers on the same folders."""

import asyncio
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.util import maxsim

from hf2triton.core.options import ExportOptions
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton.validate.validation import Against, validate_entries
from hf2triton_client import InputError, aio, connect, pipeline

from ..conftest import asset, entry_name
from ..support import TEXTS

NAMES = ("fp32", "fp16")
#: precision -> how far weights may be from PyTorch's.
ATOL = {"fp32": 1e-4, "fp16": 2e-2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model with a vector for each token, as MultiVectorEncoder saves it."""
    torch.manual_seed(0)
    made, reads = tmp_path_factory.mktemp("tokens") / "late", {"module_input_name": "token_embeddings"}
    transformer = Transformer(str(asset("bert", "sentence-similarity")))
    dense = Dense(
        transformer.get_embedding_dimension(), 32, bias=False, activation_function=torch.nn.Identity(), **reads
    )
    chain = [transformer, dense, MultiVectorMask(), Normalize(**reads)]
    prompts = {"query": "query: ", "document": "text: "}
    MultiVectorEncoder(modules=chain, device="cpu", prompts=prompts).save(str(made), create_model_card=False)
    return made


@pytest.fixture(scope="module")
def tokens(folder):
    """A server of that model, `late`, and of one with an embedding for each text too, `both`."""
    repository = folder.parent / "repository"
    export(ExportOptions(str(folder), "late", precision="fp32", repository=repository))
    both = str(asset("bert", "sentence-similarity"))
    asked = {"task": "sentence-similarity", "token_embeddings": True}
    export(ExportOptions(both, "both", precision="fp32", repository=repository, **asked))
    with Server(repository) as server:
        yield server


@pytest.fixture(scope="module")
def theirs():
    return SentenceTransformer(str(asset("bert", "sentence-similarity")), device="cpu")


@pytest.fixture(scope="module")
def sparse():
    return SparseEncoder(str(asset("bert", "sparse-embedding")), device="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"truncate_dim": 8},
        {"truncate_dim": 8, "normalize_embeddings": True},
        {"truncate_dim": 1000, "normalize_embeddings": True},
        {"precision": "binary"},
        {"precision": "ubinary", "truncate_dim": 20},
    ],
)
def test_what_encode_takes(server, theirs, options):
    """Dimensions are cut before lengths are made 1, and numbers become bits at the end."""
    with pipeline(
        "sentence-similarity", model=entry_name("bert", "sentence-similarity", "fp32"), url=server.url
    ) as ours:
        for texts in (TEXTS, TEXTS[0]):
            expected, actual = theirs.encode(texts, **options), ours.encode(texts, **options)
            assert actual.dtype == expected.dtype
            np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_8_bits(server, theirs):
    """Steps of 1/255 of each dimension's range: rounding may move a number by one."""
    with pipeline(
        "sentence-similarity", model=entry_name("bert", "sentence-similarity", "fp32"), url=server.url
    ) as ours:
        for precision in ("int8", "uint8"):
            expected, actual = (model.encode(TEXTS, precision=precision) for model in (theirs, ours))
            assert actual.dtype == expected.dtype
            assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 1
        with pytest.raises(InputError, match="quantize_embeddings"):
            ours.encode(TEXTS[0], precision="int8")


def test_similarities_of_embeddings(server, theirs):
    """`similarity` and `similarity_pairwise` compare as the model's similarity_fn_name says, without the server."""
    with pipeline(
        "sentence-similarity", model=entry_name("bert", "sentence-similarity", "fp32"), url=server.url
    ) as ours:
        assert ours.similarity_fn_name == theirs.similarity_fn_name
        embeddings = ours.encode(TEXTS)
        expected = theirs.encode(TEXTS)
        np.testing.assert_allclose(
            ours.similarity(embeddings[:3], embeddings), theirs.similarity(expected[:3], expected), atol=1e-4
        )
        np.testing.assert_allclose(
            ours.similarity_pairwise(embeddings, embeddings[::-1]),
            theirs.similarity_pairwise(expected, expected[::-1].copy()),
            atol=1e-4,
        )


def test_vectors_of_tokens(tokens, theirs):
    """With special tokens and without padding, for a text and for a list, blocking and awaited; and the embeddings as ever."""

    async def awaited():
        async with aio.pipeline("sentence-similarity", model="both", url=tokens.url) as ours:
            vectors = await ours.encode(TEXTS, output_value="token_embeddings")
            return vectors, ours.maxsim(vectors[0], vectors)

    expected = [tensor.numpy() for tensor in theirs.encode(TEXTS, output_value="token_embeddings")]
    with pipeline("sentence-similarity", model="both", url=tokens.url) as ours:
        found = ours.encode(TEXTS, output_value="token_embeddings")
        one = ours.encode(TEXTS[0], output_value="token_embeddings")
        np.testing.assert_allclose(ours.encode(TEXTS), theirs.encode(TEXTS), atol=1e-4)
        assert ours.encode([], output_value="token_embeddings") == []
        bits = ours.encode(TEXTS, output_value="token_embeddings", precision="ubinary")
    again, scores = asyncio.run(awaited())
    for vectors in (found, again):
        assert [own.shape for own in vectors] == [own.shape for own in expected]
        for own, other in zip(vectors, expected, strict=True):
            np.testing.assert_allclose(own, other, atol=1e-4)
    np.testing.assert_allclose(one, expected[0], atol=1e-4)
    np.testing.assert_allclose(scores, maxsim(expected[:1], expected), rtol=1e-4)
    assert [own.shape for own in bits] == [(len(own), 8) for own in expected]


def test_late_interaction(tokens, folder):
    """Queries and documents after their prompts, compared by MaxSim."""
    judge = MultiVectorEncoder(str(folder), device="cpu")
    query, documents = TEXTS[0], TEXTS[1:]
    with pipeline("sentence-similarity", model="late", url=tokens.url) as ours:
        ask, read = ours.encode_query(query), ours.encode_document(documents)
        expected = judge.similarity(judge.encode_query(query), judge.encode_document(documents)).numpy()
        assert ours.similarity_fn_name == "maxsim"
        np.testing.assert_allclose(ours.similarity(ask, read), expected, atol=1e-4)
        np.testing.assert_allclose(ours.similarity_pairwise([ask], read[:1]), expected[0, :1], atol=1e-4)
        scores = ours({"source_sentence": query, "sentences": documents}, prompt="")
        plain = judge.similarity(judge.encode(query, prompt=""), judge.encode(documents, prompt=""))[0]
        np.testing.assert_allclose(scores, plain, atol=1e-4)
        with pytest.raises(InputError, match="gives no sentence_embedding: it has a vector for each token"):
            ours.encode(query, output_value="sentence_embedding")


def test_the_live_endpoint_gives_recorded_vectors(tokens, folder):
    """`validate` compares the vectors of all tokens, and the similarities."""
    with connect(tokens.url) as connection:
        found = list(validate_entries(connection, [], Against(repository=folder.parent / "repository")))
    assert [validation.passed for validation in found] == [True, True]
    outputs = {one.output for validation in found for check in validation.checks for one in check.differences}
    assert outputs >= {"embedding", "token_embeddings", "answers"}


@pytest.mark.parametrize("precision", NAMES)
def test_sparse_embeddings(server, sparse, precision):
    """Weights, all or the largest, and their similarities; the names of tokens as SparseEncoder.decode has them."""
    expected = sparse.encode(TEXTS)
    with pipeline("sparse-embedding", model=entry_name("bert", "sparse-embedding", precision), url=server.url) as ours:
        vectors = ours.encode(TEXTS)
        assert vectors.shape == tuple(expected.shape)
        np.testing.assert_allclose(vectors.dense(), expected.to_dense(), atol=ATOL[precision])
        np.testing.assert_allclose(ours.encode(TEXTS[0], dense=True), expected[0].to_dense(), atol=ATOL[precision])
        few = ours.encode(TEXTS, max_active_dims=9)
        assert (np.diff(few.indptr) == 9).all()
        for index in range(len(TEXTS)):
            np.testing.assert_array_equal(few.row(index)[1], vectors.row(index)[1][:9])
        assert ours.similarity_fn_name == sparse.similarity_fn_name == "dot"
        scores = ours.similarity(vectors[:2], vectors)
        np.testing.assert_allclose(scores, sparse.similarity(expected, expected)[:2], rtol=ATOL[precision])
        decoded = [dict(row) for row in sparse.decode(expected, top_k=200)]
        answers = ours(TEXTS, top_k=100)
        assert [metadata.num_truncated_tokens > 0 for metadata in answers.metadata] == [False] * 7 + [True]
        for answer, weights in zip(answers, decoded, strict=True):
            assert list(answer.values()) == sorted(answer.values(), reverse=True)
            assert answer == pytest.approx({token: weights[token] for token in answer}, abs=ATOL[precision])
        assert len(ours(TEXTS[0], top_k=3)) == 3
        assert ours.encode([]).shape == (0, expected.shape[1])


def test_sparse_embeddings_awaited(server, sparse):
    """Queries and documents with asyncio; comparing them is no coroutine."""

    async def awaited():
        name = entry_name("bert", "sparse-embedding", "fp32")
        async with aio.pipeline("sparse-embedding", model=name, url=server.url) as ours:
            queries, documents = await asyncio.gather(ours.encode_query(TEXTS[:2]), ours.encode_document(TEXTS))
            return ours.similarity(queries, documents)

    expected = sparse.similarity(sparse.encode_query(TEXTS[:2]), sparse.encode_document(TEXTS))
    np.testing.assert_allclose(asyncio.run(awaited()), expected, rtol=1e-4)


def test_sparse_embeddings_without_a_client(server, sparse):
    """A caller over HTTP gets the largest weights with the names of their tokens, and nothing else that it does not ask for."""
    tensors = [
        {"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [value]}
        for name, value in (("text", TEXTS[0]), ("parameters", '{"max_active_dims": 4}'))
    ]
    outputs = [{"name": name} for name in ("token_ids", "token_strings", "token_weights")]
    name = entry_name("bert", "sparse-embedding", "fp32")
    body = json.dumps({"inputs": tensors, "outputs": outputs}).encode()
    with urllib.request.urlopen(f"{server.http_url}/v2/models/{name}/infer", body) as answer:
        found = {output["name"]: output["data"] for output in json.load(answer)["outputs"]}
    expected = sparse.decode(sparse.encode(TEXTS[0]), top_k=4)
    assert found["token_strings"] == [token for token, _ in expected]
    assert found["token_ids"] == sparse.tokenizer.convert_tokens_to_ids(found["token_strings"])
    assert found["token_weights"] == pytest.approx([weight for _, weight in expected], abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ours: ours.encode(TEXTS, output_value="token_embeddings"), "export it with --token-embeddings"),
        (
            lambda ours: ours.encode(TEXTS, output_value="states"),
            "sentence_embedding or token_embeddings, not 'states'",
        ),
        (lambda ours: ours.encode(TEXTS, precision="int4"), "precision should be one of float32, int8"),
        (lambda ours: ours.encode(TEXTS, truncate_dim=0), "truncate_dim must be 1 or more"),
    ],
)
def test_what_encode_refuses(server, call, message):
    """The error says what to do."""
    with (
        pipeline(
            "sentence-similarity", model=entry_name("bert", "sentence-similarity", "fp32"), url=server.url
        ) as ours,
        pytest.raises(InputError, match=message),
    ):
        call(ours)


def test_parameters_of_sparse_embeddings_are_checked(server):
    """By the client, and by the server, which names what is wrong."""
    name = entry_name("bert", "sparse-embedding", "fp32")
    with pipeline("sparse-embedding", model=name, url=server.url) as ours:
        with pytest.raises(InputError, match="max_active_dims must be 1 or more"):
            ours.encode(TEXTS, max_active_dims=0)
        with pytest.raises(InputError, match="no prompt 'passage'; it has query, document"):
            ours(TEXTS, prompt_name="passage")
    body = json.dumps(
        {
            "inputs": [
                {"name": key, "shape": [1, 1], "datatype": "BYTES", "data": [value]}
                for key, value in (("text", "a"), ("parameters", '{"max_active_dims": 0}'))
            ]
        }
    ).encode()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.http_url}/v2/models/{name}/infer", body)
    assert "max_active_dims must be an integer of at least 1" in caught.value.read().decode()
