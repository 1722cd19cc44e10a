"""Rankings through the real server, against sentence-transformers' CrossEncoder."""

import asyncio
import json
import urllib.request

import numpy as np
import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton_client import InputError, aio, connect, pipeline
from hf2triton_client.evaluation.datasets import read_questions
from hf2triton_client.evaluation.scores import scores_of

from ..checkpoints.judges import ranks
from ..conftest import asset, entry_name
from ..support import TEXTS, assert_outputs_match, sample_of

#: precision -> how far scores may be from PyTorch's
PRECISIONS = {"fp32": 1e-5, "fp16": 1e-2}
QUERY = "Anger: slow to"
DOCUMENTS = [*TEXTS, "He that is slow to anger is better than the mighty.", "", "ok"] * 4
each = pytest.mark.parametrize(("precision", "atol"), PRECISIONS.items())


@pytest.fixture(scope="module")
def cross_encoder():
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(asset("bert", "rerank")), device="cpu")


def name_of(precision):
    return entry_name("bert", "rerank", precision)


@each
@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"return_documents": True, "top_k": 50}, {"batch_size": 3}])
def test_rankings_are_those_of_sentence_transformers(server, precision, atol, options):
    """Scores, keys and order, in which documents whose scores differ by rounding may swap places."""
    judge = ranks(asset("bert", "rerank"))
    every = judge({"query": QUERY, "documents": DOCUMENTS})
    theirs = judge({"query": QUERY, "documents": DOCUMENTS}, **options)
    with pipeline("rerank", model=name_of(precision), url=server.url) as ours:
        found = ours(QUERY, DOCUMENTS, **options)
        assert_outputs_match([one["score"] for one in theirs], [one["score"] for one in found], atol)
        assert [list(one) for one in found] == [list(one) for one in theirs]
        score_of = {one["index"]: one["score"] for one in every}
        assert_outputs_match([one["score"] for one in theirs], [score_of[one["index"]] for one in found], 2 * atol)
        for again in ours([{"query": QUERY, "documents": DOCUMENTS}] * 2, **options):
            assert_outputs_match([one["score"] for one in again], [one["score"] for one in found], atol)


@each
def test_predictions_are_those_of_sentence_transformers(server, cross_encoder, precision, atol):
    """Of a list of pairs, one pair and none, with the checkpoint's activation and others."""
    import torch

    pairs = [[QUERY, document] for document in DOCUMENTS]
    with pipeline("rerank", model=name_of(precision), url=server.url) as ours:
        for inputs in (pairs, np.array(pairs), tuple(pairs[0]), np.array(pairs[0]), [pairs[0]], []):
            expected, found = cross_encoder.predict(inputs), ours.predict(inputs)
            assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)
            np.testing.assert_allclose(found, expected, atol=atol)
        for name in ("Identity", "Tanh", "ReLU", "LogSigmoid", "Softplus"):
            expected = cross_encoder.predict(pairs, activation_fn=getattr(torch.nn, name)())
            np.testing.assert_allclose(ours.predict(pairs, activation_fn=name), expected, atol=5 * atol)
        own = ours.predict(pairs, activation_fn=lambda logits: -logits, apply_softmax=True)
        np.testing.assert_array_equal(own, -ours.predict(pairs, activation_fn="identity"))
        assert ours(QUERY, []) == cross_encoder.rank(QUERY, [])


def test_an_export_tells_how_close_it_is(tmp_path):
    """By the largest difference: a single logit has no direction and no best entry."""
    source, repository = str(asset("bert", "rerank")), str(tmp_path / "repository")
    arguments = ["export", source, "--name", "passages", "--precision", "fp32", "--dry-run", "--repository", repository]
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 0, said.output
    [row] = [line for line in said.output.splitlines() if line.startswith("passages ")]
    assert "–" in row.split()


def test_a_prompt_comes_before_the_query(server, cross_encoder):
    """As text; a model without prompts has no prompt of any name."""
    pairs = [(QUERY, document) for document in DOCUMENTS[:4]]
    with pipeline("rerank", model=name_of("fp32"), url=server.url) as ours:
        expected = cross_encoder.predict(pairs, prompt="Topic: ")
        np.testing.assert_allclose(ours.predict(pairs, prompt="Topic: "), expected, atol=1e-5)
        with pytest.raises(InputError, match="has no prompt 'query'; it has none"):
            ours(QUERY, DOCUMENTS, prompt_name="query")


def test_asyncio_gives_the_same(server):
    """Calls and predictions are coroutines."""
    pairs = [(QUERY, document) for document in DOCUMENTS]

    async def ask():
        async with aio.pipeline("rerank", model=name_of("fp32"), url=server.url) as ours:
            return await ours(QUERY, DOCUMENTS, top_k=5), await ours.predict(pairs)

    ranking, scores = asyncio.run(ask())
    with pipeline("rerank", model=name_of("fp32"), url=server.url) as ours:
        assert_outputs_match(ours(QUERY, DOCUMENTS, top_k=5), ranking, 1e-6)
        np.testing.assert_allclose(scores, ours.predict(pairs), atol=1e-6)


def test_search_is_as_good_in_fp16(server, cross_encoder, tmp_path, capsys):
    """NDCG@10 on held-out topics is CrossEncoder's in fp32 within 0.001, and far above that of documents without an order."""
    path = tmp_path / "topics.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in sample_of(asset("bert", "rerank"))), "utf-8")
    questions = read_questions(path, "rerank")
    scores = [
        cross_encoder.predict([(one["query"], document) for document in one["documents"]]).tolist()
        for one in questions.inputs
    ]
    expected = [[{"index": index, "score": score} for index, score in enumerate(own)] for own in scores]
    unordered = [[{"index": one["index"], "score": 0.0} for one in own] for own in expected]
    with pipeline("rerank", model=name_of("fp16"), url=server.url) as ours:
        ndcg, *_ = scores_of("rerank", questions, {}, questions.ask(ours), expected)
    chance, *_ = scores_of("rerank", questions, {}, unordered)
    with capsys.disabled():
        print(f"\nNDCG@10 served in fp16 {ndcg.served:.4f}, CrossEncoder in fp32 {ndcg.pytorch:.4f}", end=" ")
    assert ndcg.name == "NDCG@10"
    assert abs(ndcg.served - ndcg.pytorch) <= 0.001
    assert ndcg.served > chance.served + 0.1


def test_the_protocol_takes_pairs(server):
    """Over HTTP, with a text and its pair for each row; a query without a document is refused by name."""
    with connect(server.url) as connection, pipeline("rerank", model=name_of("fp32"), connection=connection) as ours:
        expected = ours.predict([(QUERY, document) for document in TEXTS[:3]], activation_fn="Identity")

    def ask(inputs):
        columns = [
            {"name": name, "datatype": "BYTES", "shape": [len(values), 1], "data": values}
            for name, values in inputs.items()
        ]
        body = json.dumps({"inputs": columns, "outputs": [{"name": "logits"}]}).encode()
        url = f"{server.http_url}/v2/models/{name_of('fp32')}/infer"
        with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
            return json.load(answer)["outputs"][0]["data"]

    found = ask({"text": [QUERY] * 3, "text_pair": TEXTS[:3]})
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask({"text": [QUERY]})
    assert "text_pair" in refused.value.read().decode()
