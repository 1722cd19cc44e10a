"""How calls behave: many texts, long texts, bad inputs, wrong names, company in the batch, asyncio."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton

import hf2triton_client
from hf2triton_client import InputError, ModelNotFound, ServerError, WrongTask, aio, connect, pipeline

from ..conftest import entry_name
from ..support import TEXTS, assert_outputs_match

SENTIMENT = entry_name("bert", "text-classification", "fp32")
NER = entry_name("distilbert", "token-classification", "fp16")
NER_BLS = entry_name("bert", "token-classification", "fp16", "bls")


@pytest.fixture(scope="module")
def connection(server):
    with connect(server.url, timeout=30) as opened:
        yield opened


def test_long_lists_are_split_and_keep_their_order(connection):
    """Hundreds of texts, sent in many requests, are answered in the order they came."""
    classify = pipeline("text-classification", model=SENTIMENT, connection=connection)
    texts = [f"{text} {index}" for index, text in enumerate(TEXTS * 40)]
    expected = [classify(text)[0] for text in texts[:16]]
    for batch_size in (1, 7, 1000):
        answers = classify(texts, batch_size=batch_size)
        assert len(answers) == len(texts)
        assert_outputs_match(expected, list(answers[:16]), 1e-5)


def test_an_iterator_gives_an_iterator(connection):
    """Generators are read a window at a time and answered lazily."""
    classify = pipeline("text-classification", model=SENTIMENT, connection=connection)
    read = []

    def endless():
        while True:
            read.append(len(read))
            yield f"text {len(read)}"

    answers = classify(endless())
    first = [next(answers) for _ in range(3)]
    assert {"label", "score"} == set(first[0])
    assert len(read) <= 512


def test_a_text_that_is_cut_is_reported(connection, caplog):
    """The metadata of a result tells how many tokens were read and dropped, and a warning is logged."""
    classify = pipeline("text-classification", model=SENTIMENT, connection=connection)
    with caplog.at_level(logging.WARNING, logger="hf2triton_client.pipelines"):
        answers = classify(["short", "word " * 300])
    short, long = answers.metadata
    assert (short.num_truncated_tokens, long.num_tokens) == (0, 128)
    assert long.num_truncated_tokens == 300 * 1 + 2 - 128
    assert short.model_version == 1
    assert "text 1 was cut" in caplog.text


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "empty"),
        (["ok", b"\xff\xfe"], "text 1 is not UTF-8"),
        (["ok", "\ud800"], "text 1 holds a lone surrogate"),
        (["ok", 3], "text 1 should be a string, not int"),
        ({"text": "a", "pair": "b"}, "the keys 'text' and 'text_pair', not 'pair', 'text'"),
        (7, "not int"),
    ],
)
def test_inputs_that_cannot_be_sent(connection, inputs, message):
    """Bad inputs are refused before anything is sent, and the text is named by its index."""
    classify = pipeline("text-classification", model=SENTIMENT, connection=connection)
    with pytest.raises(InputError, match=message):
        classify(inputs)


def test_bytes_that_are_utf8_are_texts(connection):
    """UTF-8 bytes give what the string gives."""
    classify = pipeline("text-classification", model=SENTIMENT, connection=connection)
    assert_outputs_match(list(classify("Köln 😀")), list(classify("Köln 😀".encode())), 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 3}, "takes no top; it takes batch_size, function_to_apply, top_k"),
        ({"top_k": 0}, "top_k must be 1 or more"),
        ({"function_to_apply": "relu"}, "known are softmax, sigmoid, none"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
    ],
)
def test_options_that_do_not_exist(connection, options, message):
    """Unknown options and values are refused, with those that exist."""
    classify = pipeline("text-classification", model=SENTIMENT, connection=connection)
    with pytest.raises(InputError, match=message):
        classify("text", **options)


def test_an_unknown_strategy_lists_the_known_ones(connection):
    """aggregation_strategy is checked before anything is sent."""
    with pytest.raises(InputError, match="none, simple, first, average, max"):
        pipeline("ner", model=NER, connection=connection)("text", aggregation_strategy="last")


def test_an_unknown_model_lists_those_that_are_ready(connection):
    """The error names the models that the server has."""
    with pytest.raises(ModelNotFound, match=f"'nope' is not served here; ready: .*{SENTIMENT}"):
        pipeline("ner", model="nope", connection=connection)


def test_the_wrong_task_is_refused(connection):
    """A model asked for another task, a graph without a frontend, and a task that does not exist are told apart."""
    with pytest.raises(WrongTask, match="serves text-classification, not ner"):
        pipeline("ner", model=SENTIMENT, connection=connection)
    with pytest.raises(WrongTask, match="graph behind a front"):
        pipeline("ner", model=f"{NER_BLS}_model", connection=connection)
    with pytest.raises(InputError, match="task 'nor' is unknown; known are"):
        pipeline("nor", model=SENTIMENT, connection=connection)


def raw_request(client: triton.InferenceServerClient, name: str, value: bytes):
    tensor = triton.InferInput("text", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[value]], dtype=np.object_))
    return client.infer(name, [tensor]).as_numpy("logits")


@pytest.mark.parametrize("name", [NER, NER_BLS])
def test_a_bad_request_fails_alone(server, name):
    """Requests that are not UTF-8 or too big fail with a reason; those merged with them are answered."""
    client = triton.InferenceServerClient(server.url)
    values = [b"Maria lives in Rome.", b"\xff\xfe", b"x" * ((1 << 20) + 1)] * 8
    with ThreadPoolExecutor(24) as pool:
        futures = [pool.submit(raw_request, client, name, value) for value in values]
    errors = [future.exception() for future in futures]
    for value, error, future in zip(values, errors, futures, strict=True):
        if value.startswith(b"Maria"):
            assert error is None
            assert np.isfinite(future.result()).all()
        else:
            assert ("not UTF-8" if value.startswith(b"\xff") else "at most 1,048,576") in str(error)
    client.close()


def test_company_does_not_change_an_answer(connection):
    """A text gives the same logits alone and among others that arrive at the same time."""
    similarity = pipeline(model=entry_name("bert", "sentence-similarity", "fp32"), connection=connection)
    alone = [similarity.encode(text) for text in TEXTS]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(similarity.encode, TEXTS * 20))
    for index, embedding in enumerate(together):
        np.testing.assert_allclose(embedding, alone[index % len(TEXTS)], atol=1e-5)


def test_asyncio_gives_the_same(server, connection):
    """The asyncio twin takes the same arguments and gives the same answers, errors included."""
    blocking = pipeline("ner", model=NER, connection=connection, aggregation_strategy="simple")

    async def ask():
        async with aio.pipeline("ner", model=NER, url=server.url, aggregation_strategy="simple") as tag:
            answers = await asyncio.gather(*(tag(text) for text in TEXTS))
            streamed = [entities async for entities in tag(iter(TEXTS))]
            with pytest.raises(InputError):
                await tag(7)
        similarity = await aio.pipeline(model=entry_name("bert", "sentence-similarity", "fp32"), url=server.url)
        embedding = await similarity.encode(TEXTS[:3])
        await similarity.close()
        with pytest.raises(ModelNotFound, match="ready: "):
            await aio.pipeline("ner", model="nope", url=server.url)
        return answers, streamed, embedding

    answers, streamed, embedding = asyncio.run(ask())
    expected = list(blocking(TEXTS))
    assert_outputs_match(expected, [list(answer) for answer in answers], 1e-5)
    assert_outputs_match(expected, streamed, 1e-5)
    assert embedding.shape == (3, 64)


def test_errors_share_one_base():
    """Callers can catch everything with ClientError."""
    assert issubclass(ServerError, hf2triton_client.ClientError)
