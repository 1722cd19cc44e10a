"""Empty texts: each task takes or refuses them as transformers' pipeline of its name does."""

from __future__ import annotations

from typing import Any

import pytest

from hf2triton_client import InputError
from hf2triton_client.evaluation.datasets import read_questions
from hf2triton_client.pipelines import pipeline_class
from hf2triton_client.transport.served_model import ServedModel

LABELS = {"0": "contradiction", "1": "entailment"}
PAIR = {"text": "a", "text_pair": "b"}


def prepared(task: str, inputs: Any, **options: Any) -> list[dict[str, list]]:
    """What a task's pipeline asks a frontend that answers anything."""
    settings = {"task": task, "id2label": LABELS, "problem_type": None, "generation": {"slots": 1, "defaults": {}}}
    models = {"": ServedModel("model", settings, 8)}
    pipe = pipeline_class(task, models)(models, None, {})
    call = pipe.prepare(inputs, pipe.merged(options))
    return [dict(ask.inputs) for ask in call.asks]


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "feature-extraction"])
@pytest.mark.parametrize("inputs", ["", b"", [""], ["a", ""], ["", " ", "\n", "\u200b"]])
def test_an_empty_text_is_sent_as_any_other(task, inputs):
    """Alone and in lists, where its neighbours stay in their places."""
    texts = inputs if isinstance(inputs, list) else [""]
    assert prepared(task, inputs) == [{"text": texts}]


@pytest.mark.parametrize(
    ("inputs", "asked"),
    [
        ({"text": "a", "text_pair": ""}, [{"text": ["a"]}]),
        ({"text": "a", "text_pair": None}, [{"text": ["a"]}]),
        ({"text": "", "text_pair": "b"}, [{"text": [""], "text_pair": ["b"]}]),
        ([PAIR, "c", PAIR], [{"text": ["c"]}, {"text": ["a", "a"], "text_pair": ["b", "b"]}]),
    ],
)
def test_an_empty_pair_is_none(inputs, asked):
    """As transformers' tokenizers have it; texts with and without a pair are asked apart."""
    assert prepared("text-classification", inputs) == asked


def test_empty_labels_and_targets_are_taken():
    """A label is put into the template, and of targets those without a token are left out by the server."""
    [asked] = prepared("zero-shot-classification", "a", candidate_labels=["", "b"])
    assert asked["text_pair"] == ["This example is .", "This example is b."]
    [asked] = prepared("fill-mask", "a [MASK]", targets=["", "b"])
    assert asked["parameters"] == ['{"targets": ["", "b"]}']


@pytest.mark.parametrize(
    ("task", "inputs", "options", "message"),
    [
        ("zero-shot-classification", "", {"candidate_labels": ["a"]}, "text 0 is empty"),
        ("zero-shot-classification", ["a", ""], {"candidate_labels": ["a"]}, "text 1 is empty"),
        ("zero-shot-classification", "a", {"candidate_labels": ""}, "candidate_labels"),
        ("zero-shot-classification", "a", {"candidate_labels": [" "], "hypothesis_template": ""}, "has no {}"),
        ("question-answering", {"question": "", "context": "b"}, {}, "text 0 is empty"),
        ("question-answering", [{"question": "a", "context": one} for one in ("b", "")], {}, "text 1 is empty"),
        ("text-classification", [], {}, "the list of texts is empty"),
        ("token-classification", [], {}, "the list of texts is empty"),
    ],
)
def test_what_transformers_refuses_is_refused_by_its_index(task, inputs, options, message):
    """Empty sequences of zero-shot-classification, empty questions and contexts, and empty lists."""
    with pytest.raises(InputError, match=message):
        prepared(task, inputs, **options)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_an_empty_text_of_labelled_data(tmp_path, ending):
    """JSON tells an empty text from none; in CSV an empty cell is none."""
    path = tmp_path / f"data.{ending}"
    path.write_text({"jsonl": '{"text": "", "label": "x"}\n', "csv": "text,label\n,x\n"}[ending])
    if ending == "jsonl":
        assert read_questions(path, "text-classification").inputs == ("",)
        return
    with pytest.raises(InputError, match=r"row 0 of .* has no text"):
        read_questions(path, "text-classification")
