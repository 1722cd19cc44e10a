"""Each task on trained checkpoints through the real server, against `transformers.pipeline`."""

import numpy as np
import pytest
import transformers

from hf2triton_client import pipeline

from ..conftest import asset, entry_name
from ..support import TEXTS, assert_outputs_match, sample_of

PRECISIONS = {"fp32": 1e-4, "fp16": 1e-2}
combinations = pytest.mark.parametrize(
    ("family", "precision", "runner"),
    [(family, precision, "inprocess") for family in ("bert", "distilbert") for precision in PRECISIONS]
    + [("bert", "fp16", "bls")],
)
both = pytest.mark.parametrize(("family", "precision"), [("bert", precision) for precision in PRECISIONS])


def reference(family: str, task: str, **options):
    return transformers.pipeline(task, model=str(asset(family, task)), device="cpu", **options)


@both
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": None},
        {"top_k": 2},
        {"top_k": 1},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none", "top_k": None},
    ],
)
def test_text_classification(server, family, precision, options):
    """Labels, scores, order and nesting are transformers', for strings, dicts and lists, option by option."""
    theirs = reference(family, "text-classification", truncation=True)
    name = entry_name(family, "text-classification", precision)
    with pipeline("sentiment-analysis", model=name, url=server.url) as ours:
        for inputs in (TEXTS, TEXTS[0], {"text": TEXTS[1]}, [{"text": text} for text in TEXTS[:2]], TEXTS[:1]):
            assert_outputs_match(theirs(inputs, **options), ours(inputs, **options), PRECISIONS[precision])


@both
def test_options_given_to_the_pipeline_are_defaults(server, family, precision):
    """top_k given when the pipeline is made nests as it does in transformers, and a call may override it."""
    theirs = reference(family, "text-classification", truncation=True, top_k=1)
    name = entry_name(family, "text-classification", precision)
    with pipeline("text-classification", model=name, url=server.url, top_k=1) as ours:
        for inputs, options in ((TEXTS[0], {}), (TEXTS, {}), (TEXTS[0], {"top_k": 2})):
            assert_outputs_match(theirs(inputs, **options), ours(inputs, **options), PRECISIONS[precision])


@both
def test_texts_are_classified_as_well_as_in_training(server, family, precision):
    """On held-out texts the served model is right as often as PyTorch, and about as often as its card says."""
    rows = sample_of(asset(family, "text-classification"))
    theirs = reference(family, "text-classification", truncation=True)
    with pipeline(model=entry_name(family, "text-classification", precision), url=server.url) as ours:
        right = [
            sum(
                answer["label"] == row["label"]
                for answer, row in zip(ask([r["text"] for r in rows]), rows, strict=True)
            )
            for ask in (theirs, ours)
        ]
    assert right[1] >= right[0] - 1 > len(rows) * 0.55


@both
def test_entities_are_found_as_well_as_in_training(server, family, precision):
    """On held-out names nearly every word gets its label."""
    rows = sample_of(asset(family, "token-classification"))
    right = total = 0
    with pipeline(model=entry_name(family, "token-classification", precision), url=server.url) as ours:
        for row in rows:
            found = {entity["start"]: entity["entity"] for entity in ours(" ".join(row["words"]), ignore_labels=[])}
            start = 0
            for word, label in zip(row["words"], row["labels"], strict=True):
                right, total = right + (found.get(start) == label), total + 1
                start += len(word) + 1
    assert right / total > 0.97


@combinations
@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("ignored", [None, []])
def test_token_classification(server, family, precision, runner, strategy, ignored):
    """Entities, words, scores and character offsets are transformers', over word pieces, emoji and other scripts."""
    theirs = reference(family, "token-classification")
    name = entry_name(family, "token-classification", precision, runner)
    with pipeline("ner", model=name, url=server.url) as ours:
        for inputs in (TEXTS, TEXTS[3]):
            options = {"aggregation_strategy": strategy, "ignore_labels": ignored}
            assert_outputs_match(theirs(inputs, **options), ours(inputs, **options), PRECISIONS[precision])


@both
def test_feature_extraction(server, family, precision):
    """Hidden states have transformers' nesting and values, as lists and as arrays."""
    theirs = reference(family, "feature-extraction", truncation=True)
    name = entry_name(family, "feature-extraction", precision)
    with pipeline("feature-extraction", model=name, url=server.url) as ours:
        for inputs in (TEXTS, TEXTS[0]):
            assert_outputs_match(theirs(inputs), ours(inputs), 5e-2 if precision == "fp16" else 1e-4)
        arrays = ours(TEXTS[:2], return_tensors=True)
        for array, expected in zip(arrays, theirs(TEXTS[:2], return_tensors=True), strict=True):
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, expected.numpy(), atol=5e-2 if precision == "fp16" else 1e-4)


@both
def test_sentence_similarity(server, tmp_path, family, precision):
    """Embeddings and similarities equal sentence-transformers' on the same folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import cos_sim

    theirs = SentenceTransformer(str(asset(family, "sentence-similarity")), device="cpu")
    name = entry_name(family, "sentence-similarity", precision)
    expected = theirs.encode(TEXTS)
    with pipeline("sentence-similarity", model=name, url=server.url) as ours:
        np.testing.assert_allclose(ours.encode(TEXTS), expected, atol=1e-2 if precision == "fp16" else 1e-4)
        assert ours.encode(TEXTS[0]).shape == expected[0].shape
        assert ours.encode([]).shape == (0, expected.shape[1])
        lengths = np.linalg.norm(ours.encode(TEXTS, normalize_embeddings=True), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)
        similarities = ours({"source_sentence": TEXTS[0], "sentences": TEXTS[1:]})
        assert_outputs_match(cos_sim(expected[0], expected[1:])[0].tolist(), similarities, 1e-3)
