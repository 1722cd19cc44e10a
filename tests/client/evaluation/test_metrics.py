"""Metrics are those of scikit-learn, scipy, SQuAD 2.0's script and seqeval."""

import math

import numpy as np
import pytest
import seqeval.metrics
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hf2triton_client.evaluation import metrics
from hf2triton_client.evaluation.scores import _groups

LABELS = st.sampled_from(["a", "b", "c", "d", "e"])
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=30)
#: Few different values, so that many are equal.
NUMBERS = st.lists(st.tuples(st.integers(0, 5), st.floats(-2, 2).map(lambda x: round(x, 1))), min_size=2, max_size=25)

#: Few different values, so that many are equal.
SCORES = st.integers(-3, 3).map(lambda x: x / 2)


@given(PAIRS)
def test_accuracy_and_macro_f1_are_scikit_learns(pairs):
    """Also with labels that occur on one side only."""
    expected, found = zip(*pairs, strict=True)
    assert metrics.accuracy(expected, found) == pytest.approx(sklearn.metrics.accuracy_score(expected, found))
    f1 = sklearn.metrics.f1_score(expected, found, average="macro", zero_division=0)
    assert metrics.macro_f1(expected, found) == pytest.approx(f1)


def test_a_label_that_is_among_those_given_is_right():
    """Wherever it stands."""
    assert metrics.top_k_accuracy(["a", "b", "c", "d"], [["a"], ["x", "b"], ["x"], []]) == 0.5


@given(NUMBERS)
def test_rank_correlation_is_scipys(pairs):
    """With values that are equal, which share their rank."""
    expected, found = zip(*pairs, strict=True)
    assume(len(set(expected)) > 1 and len(set(found)) > 1)
    assert metrics.spearman(expected, found) == pytest.approx(spearmanr(expected, found).statistic)


@pytest.mark.filterwarnings("error")
def test_values_without_an_order_correlate_with_nothing():
    """NaN, and no warning."""
    assert math.isnan(metrics.spearman([1.0, 2.0], [3.0, 3.0]))


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), SCORES), min_size=2, max_size=25), min_size=1, max_size=4))
def test_metrics_of_rankings_are_scikit_learns(queries):
    """With grades of relevance and with equal scores; a query without a relevant document counts as 0."""
    relevance, scores = ([[pair[side] for pair in own] for own in queries] for side in (0, 1))
    gains = [sklearn.metrics.ndcg_score([own], [of], k=10) for own, of in zip(relevance, scores, strict=True)]
    assert metrics.ndcg(relevance, scores, 10) == pytest.approx(np.mean(gains))
    binary = [[grade > 0 for grade in own] for own in relevance]
    precisions = [
        sklearn.metrics.average_precision_score(own, of) if any(own) else 0.0
        for own, of in zip(binary, scores, strict=True)
    ]
    assert metrics.average_precision(relevance, scores) == pytest.approx(np.mean(precisions))


def test_metrics_of_rankings_are_those_of_sentence_transformers():
    """NDCG@10, MRR@10 and MAP of its evaluator, for lists longer and shorter than ten."""
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

    rng = np.random.default_rng(0)
    relevance = [[1] * positive + [0] * negative for positive, negative in ((1, 3), (2, 20), (1, 30), (4, 4), (3, 12))]
    scores = [rng.permutation(len(own)).astype(float) for own in relevance]
    samples = [
        {
            "query": str(query),
            "positive": [str(of[index]) for index in range(len(own)) if own[index]],
            "negative": [str(of[index]) for index in range(len(own)) if not own[index]],
        }
        for query, (own, of) in enumerate(zip(relevance, scores, strict=True))
    ]

    class Model:
        """Reads the score of a pair from its document."""

        def predict(self, pairs, **_):
            return np.array([float(document) for _, document in pairs])

    expected = CrossEncoderRerankingEvaluator(samples, show_progress_bar=False, write_csv=False)
    model = Model()
    model.model_card_data = type("Card", (), {"set_evaluation_metrics": lambda *_, **__: None})()
    found = expected(model)
    assert metrics.ndcg(relevance, scores, 10) == pytest.approx(found["ndcg@10"])
    assert metrics.reciprocal_rank(relevance, scores, 10) == pytest.approx(found["mrr@10"])
    assert metrics.average_precision(relevance, scores) == pytest.approx(found["map"])


def test_perplexity_is_of_all_tokens():
    """A long text counts for more than a short one."""
    halves, eighths = [math.log(0.5)] * 3, [math.log(0.125)]
    assert metrics.perplexity([halves, []]) == pytest.approx(2)
    assert metrics.perplexity([halves, eighths]) == pytest.approx(2 ** ((3 * 1 + 3) / 4))


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Cat, a dog; AN owl!", "cat dog owl"),
        ("there-fore", "therefore"),  # punctuation goes, it does not become a space
        ("theatre", "theatre"),
        ("\ta\n", ""),
        ("“Ärger” the", "“ärger”"),  # only ASCII's punctuation
    ],
)
def test_answers_are_normalised_as_by_squads_script(text, normalised):
    """Lower case, without punctuation, articles and superfluous space, in this order."""
    assert metrics.normalised_answer(text) == normalised


@pytest.mark.parametrize(
    ("right", "given", "exact", "f1"),
    [
        (["Denver Broncos"], "the Denver Broncos!", 1, 1),
        (["Denver Broncos"], "Broncos", 0, 2 * 1 * 0.5 / 1.5),
        (["x", "Denver Broncos of 2015"], "Denver Broncos", 0, 2 * 1 * 0.5 / 1.5),  # the best of all, P = 1, R = 2 / 4
        (
            ["to be or not to be"],
            "to to to be",
            0,
            2 * (3 / 4) * (3 / 6) / (3 / 4 + 3 / 6),
        ),  # words count as often as both have
        (["Denver"], "Rome", 0, 0),
        ([], "", 1, 1),  # cannot be answered, and was not
        ([], "Rome", 0, 0),
        (["Rome"], "", 0, 0),
        ([], "the", 1, 1),  # nothing is left of it
        (["a", "Rome"], "", 0, 0),  # an answer of which nothing is left is none of the right ones
        (["a"], "", 1, 1),
    ],
)
def test_answers_are_right_as_by_squads_definition(right, given, exact, f1):
    """Exact match and F1 of words, computed by hand."""
    assert metrics.exact_match([right], [given]) == exact
    assert metrics.span_f1([right], [given]) == pytest.approx(f1)
    assert metrics.span_f1([right, ["x"]], [given, "x"]) == pytest.approx((f1 + 1) / 2)


TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
TAGGED = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=4)


@given(TAGGED)
def test_entity_f1_is_seqevals(rows):
    """Whatever follows what: an entity begins with B-, with another kind, and after O."""
    expected, found = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    if all(tag == "O" for row in (*expected, *found) for tag in row):
        assert metrics.set_f1([set()], [set()]) == 1
        return
    ours = metrics.set_f1([_groups(row) for row in expected], [_groups(row) for row in found])
    assert ours == pytest.approx(seqeval.metrics.f1_score(expected, found, zero_division=0))


def test_metrics_are_plain_numbers():
    """JSON can hold them."""
    values = [metrics.accuracy("ab", "ab"), metrics.macro_f1("ab", "ac"), metrics.spearman([1, 2], [2, 1])]
    assert {type(value) for value in values} == {float}
    assert not any(isinstance(value, np.generic) for value in values)
