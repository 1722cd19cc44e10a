"""What the pipelines of embeddings ask of a model, and what they refuse before anything is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hf2triton_client import InputError
from hf2triton_client.pipelines import pipeline_class
from hf2triton_client.transport.calls import Call
from hf2triton_client.transport.served_model import ServedModel


class Noted:
    """A runner that sends nothing and returns what would be asked."""

    def run(self, call: Call) -> Any:
        [ask] = call.asks
        return dict(ask.inputs), list(ask.outputs)


def opened(task: str = "sentence-similarity", **settings: Any) -> Any:
    """The pipeline of a model with these settings."""
    given = {"task": task, "id2label": {}, "outputs": {"embedding": "row"}, "inputs": {"text": True}, **settings}
    return pipeline_class(task, {"": ServedModel("model", given, 8)})({"": ServedModel("model", given, 8)}, Noted(), {})


TOKENS = {"outputs": {"token_embeddings": "token"}}
BOTH = {"outputs": {"embedding": "row", "token_embeddings": "token"}}


@pytest.mark.parametrize(
    ("settings", "output_value", "output"),
    [
        ({}, None, "embedding"),
        (BOTH, None, "embedding"),
        (BOTH, "sentence_embedding", "embedding"),
        (BOTH, "token_embeddings", "token_embeddings"),
        (TOKENS, None, "token_embeddings"),
    ],
)
def test_only_one_output_is_asked_for(settings, output_value, output):
    """The other one, if there is one, is neither computed into the answer nor sent."""
    assert opened(**settings).encode("a", output_value=output_value) == ({"text": ["a"]}, [output])


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, None),
        ({"max_active_dims": 3}, {"max_active_dims": 3}),
        ({"max_active_dims": 3, "prompt_name": "query"}, {"max_active_dims": 3, "prompt_name": "query"}),
        ({"prompt_name": "query", "prompt": "Say "}, {"prompt": "Say "}),
    ],
)
def test_parameters_of_sparse_embeddings(options, parameters):
    """Only those that are given are sent, once for each text; `prompt` takes precedence, as in sentence-transformers."""
    inputs, outputs = opened("sparse-embedding", inputs={"text": True, "parameters": False}).encode(
        ["a", "b"], **options
    )
    assert outputs == ["token_ids", "token_weights"]
    assert inputs["text"] == ["a", "b"]
    given = [json.loads(one) for one in inputs.get("parameters", [])]
    assert given == ([] if parameters is None else [parameters] * 2)


@pytest.mark.parametrize(("options", "most"), [({"top_k": 4}, 4), ({"top_k": 4, "max_active_dims": 2}, 2), ({}, None)])
def test_the_smaller_number_of_tokens_counts(options, most):
    """`top_k` of the call and `max_active_dims` limit the same."""
    inputs, outputs = opened("sparse-embedding", inputs={"text": True, "parameters": False})("a", **options)
    assert outputs == ["token_strings", "token_weights"]
    assert [json.loads(one) for one in inputs.get("parameters", [])] == (
        [] if most is None else [{"max_active_dims": most}]
    )


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"pooling": {"truncate_dim": 16}}, {"truncate_dim": 17}, "at most 16, the truncate_dim of model, not 17"),
        (BOTH, {"truncate_dim": 4, "output_value": "token_embeddings"}, "not for token_embeddings"),
        ({}, {"output_value": "token_embeddings"}, "--token-embeddings"),
        (TOKENS, {"output_value": "sentence_embedding"}, "it has a vector for each token"),
        ({}, {"precision": "int4"}, "not 'int4'"),
        ({}, {"prompt_name": "passage"}, "it has query, document"),
        ({}, {"prompt": 1}, "prompt should be a string"),
    ],
)
def test_what_is_refused(settings, options, message):
    """Nothing is sent."""
    with pytest.raises(InputError, match=message):
        opened(**settings).encode("a", **options)


def test_a_similarity_that_is_not_known():
    """A model of a newer exporter may compare in another way."""
    for pipe in (opened(similarity="angular"), opened("sparse-embedding", similarity="angular")):
        with pytest.raises(InputError, match="compares by angular, which this client does not know"):
            pipe.similarity([[1.0]], [[1.0]])
