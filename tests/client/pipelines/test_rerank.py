"""Rerank checks what it is asked before it sends anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hf2triton_client import InputError
from hf2triton_client.pipelines.postprocess import ACTIVATIONS, BOUNDED
from hf2triton_client.pipelines.rerank import Rerank
from hf2triton_client.transport.calls import Call
from hf2triton_client.transport.served_model import ServedModel


class Runner:
    """Returns the call itself."""

    def run(self, call: Call) -> Call:
        return call


def opened(**settings: Any) -> Rerank:
    return Rerank({"": ServedModel("model", {"task": "rerank", "activation": "Sigmoid", **settings}, 8)}, Runner(), {})


def sent(call: Call) -> list[dict[str, list[str]]]:
    return [{name: list(values) for name, values in ask.inputs.items()} for ask in call.asks]


def test_pairs_are_sent_the_longest_first():
    """So that pairs of similar length come together; the answers are put back in order."""
    call = opened()("q", ["a", "abc", "ab"])
    assert sent(call) == [{"text": ["q"] * 3, "text_pair": ["abc", "ab", "a"]}]
    model = ServedModel("model", {"activation": "Identity"}, 8)
    rows = [{"logits": np.float32([score]), "version": 1, "model": model} for score in (1.0, 3.0, 2.0)]
    assert call.finish(rows) == [{"index": 2, "score": 3.0}, {"index": 0, "score": 2.0}, {"index": 1, "score": 1.0}]


def test_equal_documents_are_sent_once():
    """They have the same score, and keep their order."""
    call = opened()("q", ["b", "aa", "b"])
    assert sent(call) == [{"text": ["q"] * 2, "text_pair": ["aa", "b"]}]
    model = ServedModel("model", {"activation": "Identity"}, 8)
    rows = [{"logits": np.float32([score]), "version": 1, "model": model} for score in (1.0, 3.0)]
    assert [one["index"] for one in call.finish(rows)] == [0, 2, 1]


def test_equal_scores_keep_the_order_of_the_documents():
    """As in a stable sort."""
    call = opened()({"query": "q", "documents": ["a", "b", "c"]}, top_k=2)
    model = ServedModel("model", {"activation": "Sigmoid"}, 8)
    rows = [{"logits": np.float32([50.0 + index]), "version": 1, "model": model} for index in range(3)]
    assert call.finish(rows) == [{"index": 0, "score": 1.0}, {"index": 1, "score": 1.0}]


def test_prompts_come_before_queries():
    """That of the caller, that of the name, or else the default one."""
    pipe = opened(prompts={"query": "Q: ", "topic": "T: "}, default_prompt_name="query")
    assert sent(pipe("q", ["a"]))[0]["text"] == ["Q: q"]
    assert sent(pipe("q", ["a"], prompt_name="topic"))[0]["text"] == ["T: q"]
    assert sent(pipe.predict([("q", "a")], prompt="P: "))[0]["text"] == ["P: q"]
    with pytest.raises(InputError, match="has no prompt 'other'; it has query, topic"):
        pipe("q", ["a"], prompt_name="other")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("q", "a document"), {}, "'documents' is a list of strings, not one string"),
        (("q",), {}, "a query and a list of documents"),
        ((["q"], ["a"]), {}, "the query should be a string, not list"),
        (([],), {}, "the list of queries is empty"),
        (({"query": "q"},), {}, "the keys 'query' and 'documents'"),
        (("q", ["a", 1]), {}, "text 1 should be a string, not int"),
        (("q", ["a"]), {"top_k": 0}, "top_k must be 1 or more, or None for all documents, not 0"),
        (("q", ["a"]), {"activation_fn": "softmax"}, "activation_fn 'softmax' is unknown; known are Sigmoid"),
        (("q", ["a"]), {"prompt": 1}, "prompt should be a string, not int"),
        (("q", ["a"]), {"k": 1}, "rerank takes no k; it takes activation_fn"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, options, message):
    """By name, before anything is sent."""
    with pytest.raises(InputError, match=message):
        opened()(*arguments, **options)


@pytest.mark.parametrize("pairs", [["a", "b", "c"], [("a",)], [("a", "b", "c")], [("a", 1)], ["a"]])
def test_pairs_are_pairs(pairs):
    """Of strings."""
    with pytest.raises(InputError):
        opened().predict(pairs)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_torch(name):
    """In float32, for logits of any size."""
    logits = np.float32([-200, -30, -1.5, -1e-4, 0, 1e-4, 1.5, 30, 200])
    expected = getattr(torch.nn, name)()(torch.from_numpy(logits)).numpy()
    found = ACTIVATIONS[name](logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert (name in BOUNDED) == (np.abs(expected).max() <= 1)
