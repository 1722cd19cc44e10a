"""fill-mask, pairs and zero-shot-classification through the real server, against `transformers.pipeline`."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import transformers

from hf2triton_client import InputError, WrongTask, pipeline

from ..conftest import FAMILIES, PRECISIONS, asset, entry_name
from ..support import TEXTS, assert_outputs_match, sample_of

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}
precisions = pytest.mark.parametrize("precision", PRECISIONS)
families = pytest.mark.parametrize("family", FAMILIES)
MASKED = [
    "In the beginning God created the [MASK].",
    "And the [MASK] said unto him: 😀 what is thy name?",
    "[MASK]",
    "And [MASK] came to pass in the [MASK] of the king.",
    "And he said, [MASK], thou shalt not eat of it. " * 3,
]


def reference(task, family, **options):
    return transformers.pipeline(task, model=str(asset(family, task)), device="cpu", **options)


def assert_same_fillings(expected, actual, atol):
    """Scores in order within `atol`; tokens too, but for those whose scores lie closer together than that."""
    assert [list(entry) for entry in actual] == [list(entry) for entry in expected]
    by_token = {entry["token"]: entry for entry in actual}
    for one, other in zip(expected, actual, strict=True):
        assert other["score"] == pytest.approx(one["score"], abs=atol)
        if one["score"] > expected[-1]["score"] + atol:
            assert_outputs_match(one, by_token[one["token"]], atol)


@precisions
@families
@pytest.mark.parametrize(
    "options", [{}, {"top_k": 1}, {"top_k": 12}, {"targets": ["king", "earth"]}, {"targets": "lord"}]
)
def test_fill_mask(server, family, precision, options):
    """Tokens, scores and sequences are transformers', for one mask and several, strings and lists."""
    theirs = reference("fill-mask", family)
    name = entry_name(family, "fill-mask", precision)
    with pipeline("fill-mask", model=name, url=server.url) as ours:
        for text in MASKED:
            expected, actual = theirs(text, **options), ours(text, **options)
            several = isinstance(expected[0], list)
            for one, other in zip(*((expected, actual) if several else ([expected], [actual])), strict=True):
                assert_same_fillings(one, other, TOLERANCE[precision])
        assert len(ours(MASKED, **options)) == len(MASKED)
        assert_same_fillings(theirs(MASKED[:1], **options), ours(MASKED[:1], **options), TOLERANCE[precision])


@precisions
@families
def test_masks_are_filled_as_well_as_in_training(server, family, precision):
    """On held-out texts, the right token is among the five best as often as with PyTorch."""
    rows = sample_of(asset(family, "fill-mask"))
    theirs = reference("fill-mask", family)
    with pipeline(model=entry_name(family, "fill-mask", precision), url=server.url) as ours:
        found = [
            sum(row["token"] in [entry["token_str"] for entry in ask(row["text"])] for row in rows)
            for ask in (theirs, ours)
        ]
    assert found[1] >= found[0] - 1 > len(rows) * 0.3


def test_a_text_without_a_mask_fails_alone(server):
    """The reason names the mask token, and its neighbours are answered."""
    with pipeline(model=entry_name("distilbert", "fill-mask", "fp16"), url=server.url) as ours:
        with pytest.raises(InputError, match=r"\[MASK\]"):
            ours("no mask here")
        with pytest.raises(InputError, match="targets is empty"):
            ours(MASKED[0], targets=[])
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(ours, text) for text in ("no mask", MASKED[0]) * 8]
        assert [future.exception() is None for future in futures] == [False, True] * 8


LABELS = ["positive", "negative", "a question about the weather"]


@precisions
@pytest.mark.parametrize(
    "options",
    [
        {"candidate_labels": LABELS},
        {"candidate_labels": LABELS, "multi_label": True},
        {"candidate_labels": "positive, negative"},
        {"candidate_labels": ["positive"]},
        {"candidate_labels": LABELS, "hypothesis_template": "The text is {}."},
    ],
)
def test_zero_shot_classification(server, precision, options):
    """Sequences, labels and scores are transformers', for strings and lists."""
    theirs = reference("zero-shot-classification", "bert")
    name = entry_name("bert", "zero-shot-classification", precision)
    with pipeline("zero-shot-classification", model=name, url=server.url) as ours:
        for inputs in (TEXTS[0], TEXTS[:7], TEXTS[:1]):
            expected, actual = theirs(inputs, **options), ours(inputs, **options)
            if isinstance(inputs, str):
                expected, actual = [expected], [actual]
            for one, other in zip(expected, actual, strict=True):
                assert list(other) == list(one)
                assert other["sequence"] == one["sequence"]
                scores = dict(zip(other["labels"], other["scores"], strict=True))
                assert scores == pytest.approx(
                    dict(zip(one["labels"], one["scores"], strict=True)), abs=TOLERANCE[precision]
                )
                assert other["scores"] == sorted(other["scores"], reverse=True)


@precisions
def test_zero_shot_labels_are_as_good_as_in_training(server, precision):
    """On held-out texts the served model chooses the same labels as PyTorch."""
    rows = sample_of(asset("bert", "zero-shot-classification"))
    theirs = reference("zero-shot-classification", "bert")
    with pipeline(model=entry_name("bert", "zero-shot-classification", precision), url=server.url) as ours:
        right = [
            sum(ask(row["text"], candidate_labels=row["labels"])["labels"][0] == row["label"] for row in rows)
            for ask in (theirs, ours)
        ]
    assert right[1] >= right[0] - 1 > len(rows) * 0.65


@precisions
def test_pairs(server, precision):
    """A text and its pair are classified together, as transformers does, also beside texts without a pair."""
    theirs = transformers.pipeline(
        "text-classification", model=str(asset("bert", "zero-shot-classification")), device="cpu", truncation=True
    )
    name = entry_name("bert", "zero-shot-classification", precision)
    pairs = [{"text": text, "text_pair": "This example is positive."} for text in TEXTS]
    with pipeline("text-classification", model=name, url=server.url) as ours:
        for inputs in (pairs, pairs[0]):
            assert_outputs_match(theirs(inputs, top_k=None), ours(inputs, top_k=None), TOLERANCE[precision])
        with ThreadPoolExecutor(8) as pool:
            both = list(pool.map(ours, [TEXTS[0], pairs[0]] * 12))
        for index, answer in enumerate(both):
            expected = theirs([TEXTS[0], pairs[0]][index % 2])
            assert_outputs_match(expected, answer, TOLERANCE[precision])
        mixed = [pairs[0], TEXTS[0], "", {"text": TEXTS[1], "text_pair": ""}, pairs[1]]
        assert_outputs_match(theirs(mixed), ours(mixed), TOLERANCE[precision])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "candidate_labels is a list of labels"),
        ({"candidate_labels": []}, "candidate_labels is a list of labels"),
        ({"candidate_labels": LABELS, "hypothesis_template": "no place"}, "has no {} for the label"),
    ],
)
def test_labels_that_cannot_be_asked_for(server, options, message):
    """Missing labels and templates without a place for them are refused."""
    name = entry_name("bert", "zero-shot-classification", "fp32")
    with (
        pipeline("zero-shot-classification", model=name, url=server.url) as ours,
        pytest.raises(InputError, match=message),
    ):
        ours(TEXTS[0], **options)


def test_a_head_without_entailment_is_refused(server):
    """A sentiment model cannot choose among labels; the error lists those that it has."""
    name = entry_name("bert", "text-classification", "fp32")
    with (
        pipeline("zero-shot-classification", model=name, url=server.url) as ours,
        pytest.raises(WrongTask, match="NEUTRAL"),
    ):
        ours(TEXTS[0], LABELS)
