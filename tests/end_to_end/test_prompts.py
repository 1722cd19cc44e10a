"""Sentences after their model's prompts, through the real server, against `SentenceTransformer.encode`."""

import asyncio
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

from hf2triton.core.options import ExportOptions
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton_client import aio, connect, pipeline
from hf2triton_client.errors import InputError
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.validate import validate

from ..conftest import asset
from ..support import TEXTS

PROMPTS = {"query": "Represent the question: ", "passage": "Text: "}
CALLS = ({}, {"prompt_name": "passage"}, {"prompt_name": "document"}, {"prompt": "Say: "}, {"prompt": ""})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model with a default prompt, whose tokens it leaves out of the embedding."""
    made = tmp_path_factory.mktemp("prompts") / "sentences"
    transformer = modules.Transformer(str(asset("bert", "text-classification")))
    pooling = modules.Pooling(transformer.get_embedding_dimension(), "mean", include_prompt=False)
    chain = [transformer, pooling, modules.Normalize()]
    model = SentenceTransformer(modules=chain, device="cpu", prompts=PROMPTS, default_prompt_name="query")
    model.save(str(made), create_model_card=False)
    return made


@pytest.fixture(scope="module")
def served(folder):
    repository = folder.parent / "repository"
    export(ExportOptions(str(folder), "prompted", precision="fp32", repository=repository))
    with Server(repository) as server:
        yield server


@pytest.fixture(scope="module")
def judge(folder):
    return SentenceTransformer(str(folder), device="cpu")


@pytest.mark.parametrize("options", CALLS)
def test_prompts(served, judge, options):
    """The default prompt, one by its name, one of the caller, and none give the judge's embeddings, blocking and awaited."""

    async def awaited():
        async with aio.pipeline(model="prompted", url=served.url) as pipe:
            return await pipe.encode(TEXTS, **options)

    expected = judge.encode(list(TEXTS), **options)
    with pipeline(model="prompted", url=served.url) as pipe:
        np.testing.assert_allclose(pipe.encode(TEXTS, **options), expected, atol=1e-5)
        np.testing.assert_allclose(pipe.encode(TEXTS[0], **options), expected[0], atol=1e-5)
    np.testing.assert_allclose(asyncio.run(awaited()), expected, atol=1e-5)


def test_queries_and_documents(served, judge):
    """`encode_query` and `encode_document` take the prompts that the judge's take."""
    with pipeline(model="prompted", url=served.url) as pipe:
        for name in ("encode_query", "encode_document"):
            np.testing.assert_allclose(getattr(pipe, name)(TEXTS), getattr(judge, name)(list(TEXTS)), atol=1e-5)


def test_callers_without_a_client(served, judge):
    """A text alone gets the default prompt over HTTP as well, and `parameters` choose another."""
    for parameters, options in ((None, {}), ('{"prompt_name": "passage"}', {"prompt_name": "passage"})):
        inputs = {"text": TEXTS[0]} | ({} if parameters is None else {"parameters": parameters})
        tensors = [
            {"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [text]} for name, text in inputs.items()
        ]
        body = json.dumps({"inputs": tensors}).encode()
        with urllib.request.urlopen(f"{served.http_url}/v2/models/prompted/infer", body) as answer:
            outputs = {output["name"]: output["data"] for output in json.load(answer)["outputs"]}
        np.testing.assert_allclose(outputs["embedding"], judge.encode(TEXTS[0], **options), atol=1e-5)


def test_a_prompt_that_is_not_there(served):
    """The model's prompts are listed."""
    with (
        pipeline(model="prompted", url=served.url) as pipe,
        pytest.raises(InputError, match="'other'; it has document, passage, query"),
    ):
        pipe.encode(TEXTS, prompt_name="other")


def test_validate_asks_with_every_prompt(served, folder):
    """The recorded answers hold the default prompt and each that has a name, and the live endpoint gives them."""
    recorded = Baseline.load(folder.parent / "repository" / "prompted" / "baseline.safetensors")
    asked = set(recorded.inputs["parameters"])
    assert asked == {"{}", *(json.dumps({"prompt_name": name}) for name in PROMPTS)}
    with connect(served.url) as connection:
        assert validate(connection, "prompted", recorded).passed
