"""What was served is scored by each task's metrics, beside PyTorch's."""

import math

import pytest

from hf2triton_client import InputError
from hf2triton_client.evaluation.questions import Questions
from hf2triton_client.evaluation.results import Score
from hf2triton_client.evaluation.scores import scores_of

SIGNS = {0: "NEG", 1: "POS"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}


def asked(*labels, inputs=None, **other):
    return Questions(tuple(inputs or map(str, range(len(labels)))), labels=labels, **other)


def ranked(*labels):
    return [{"label": label, "score": 1 / place} for place, label in enumerate(labels, 1)]


def numbers(scores):
    return {score.name: (score.served, score.pytorch) for score in scores}


def entity(kind, start, end):
    return {"entity_group": kind, "score": 0.9, "word": "?", "start": start, "end": end}


@pytest.mark.parametrize("labels", [("POS", "NEG"), (1, 0), ("1", "0"), ("POS", 0), (True, False)])
def test_labels_are_names_or_numbers(labels):
    """In whichever form answers come: a list, a list of one, or alone."""
    served = [ranked("POS", "NEG"), {"label": "POS", "score": 0.9}]
    scores = scores_of("text-classification", asked(*labels), SIGNS, served, [ranked("POS"), ranked("NEG")])
    assert numbers(scores) == {"accuracy": (0.5, 1.0), "macro F1": (pytest.approx(1 / 3), 1.0)}


def test_a_label_that_is_a_number_is_a_name_where_the_model_has_it():
    """As in MNIST, where "1" may be the name of another number."""
    names = {0: "1", 1: "0"}
    assert scores_of("image-classification", asked("1"), names, [ranked("1", "0")])[0].served == 1
    assert scores_of("image-classification", asked(1), names, [ranked("0", "1")])[0].served == 1


@pytest.mark.parametrize(
    ("task", "labels"), [("text-classification", ("good", "²")), ("token-classification", (["O", "B-MISC"],))]
)
def test_labels_of_another_model_are_refused(task, labels):
    """They could not be right; what the model has is listed."""
    with pytest.raises(InputError, match="none of them is one of the model's: "):
        scores_of(task, asked(*labels), SIGNS if task == "text-classification" else TAGS, [])


def test_some_labels_may_be_unknown():
    """They are never right."""
    scores = scores_of("text-classification", asked("POS", "neutral"), SIGNS, [ranked("POS"), ranked("POS")])
    assert numbers(scores)["accuracy"] == (0.5, None)


def test_candidates_are_the_callers_own():
    """A label that is a number is no number of the head's."""
    served = [{"sequence": "a", "labels": ["1", "0"], "scores": [0.9, 0.1]}]
    assert scores_of("zero-shot-classification", asked("1"), SIGNS, served)[0].served == 1
    assert scores_of("zero-shot-image-classification", asked("1"), SIGNS, [ranked("1", "0")])[0].served == 1


def test_images_are_also_right_among_five():
    """Not among six."""
    scores = scores_of("image-classification", asked("e", "f"), dict(enumerate("abcdef")), [ranked(*"abcdef")] * 2)
    assert numbers(scores)["top-5 accuracy"] == (0.5, None)


def test_entities_are_compared_by_words():
    """A part of a word counts as the word; kind, beginning and end all count, and tags may be numbers."""
    labels = ([1, "2", "O", "B-PER", "O", "O"], ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC"])
    words = ["Ann Lee  met\tBob in Rome", "Ann Lee met Bob in Rome"]
    served = [
        [entity("PER", 0, 7), entity("PER", 14, 16)],
        [entity("PER", 0, 3), entity("PER", 12, 14), entity("PER", 19, 23)],
    ]
    (score,) = scores_of("token-classification", asked(*labels, inputs=words), TAGS, served)
    assert (score.name, score.served) == ("entity F1", pytest.approx(2 * 3 / (2 + 3 + 5)))


def test_an_entity_that_begins_with_a_space():
    """SentencePiece's tokens include the space before a word, which is not the word before it."""
    questions = asked(["O", "B-PER", "I-PER"], inputs=["Hi Ann Lee"])
    assert scores_of("token-classification", questions, TAGS, [[entity("PER", 2, 10)]])[0].served == 1


def test_tags_without_a_beginning_are_entities_too():
    """Neighbours of the same bare kind are one; kinds are named as the pipeline names them."""
    questions = asked(["PER", "PER", "O", "S-LOC"], inputs=["Ann Lee in Rome"])
    served = [[entity("PER", 0, 7), entity("LOC", 11, 15)]]
    assert scores_of("token-classification", questions, {0: "PER", 1: "S-LOC"}, served)[0].served == 1


def test_answers_that_are_numbers_stay_what_they_are():
    """Where the head has labels with such numbers, which say nothing of answers, tokens and similarities."""
    labels = {0: "LABEL_0", 1: "LABEL_1"}
    spans = [{"score": 1.0, "start": 0, "end": 1, "answer": "1"}]
    assert numbers(scores_of("question-answering", asked(["1", "one"]), labels, spans)) == {
        "exact match": (1, None),
        "F1": (1, None),
    }
    tokens = [[{"score": 1.0, "token": 9, "token_str": " 2", "sequence": ""}, {"token_str": "1"}]]
    assert numbers(scores_of("fill-mask", asked("1"), labels, tokens)) == {
        "top-1 accuracy": (0, None),
        "top-5 accuracy": (1, None),
    }
    (score,) = scores_of("sentence-similarity", asked(0.0, 1.0), labels, [[0.1], [0.2]], [[0.2], [0.1]])
    assert (score.served, score.pytorch) == (pytest.approx(1), pytest.approx(-1))


def test_texts_with_several_masks_have_no_score():
    """Their label says nothing of which mask it stands for."""
    with pytest.raises(InputError, match="one mask each"):
        scores_of("fill-mask", asked("x"), {}, [[[{"token_str": "x"}], [{"token_str": "y"}]]])


def test_similarities_need_an_order():
    """Rows with the same label have none."""
    with pytest.raises(InputError, match="different labels"):
        scores_of("sentence-similarity", asked(1.0, 1.0), {}, [[0.1], [0.2]])


def test_a_perplexity_may_be_a_hundredth_higher():
    """Of texts, which need no label; lower is better."""
    questions = Questions(("a",), method="logprobs")

    def passes(served):
        (score,) = scores_of("text-generation", questions, {}, [[-math.log(served)]], [[-math.log(10)]])
        assert (score.name, score.higher_is_better) == ("perplexity", False)
        assert (score.served, score.pytorch) == (pytest.approx(served, nan_ok=True), pytest.approx(10))
        return score.passed

    assert [passes(served) for served in (5, 10, 10.099, 10.11, math.nan)] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("rows", "theirs", "ours", "passed"),
    [(10, 9, 8, True), (10, 9, 7, False), (100, 90, 89, True), (200, 180, 178, True), (200, 180, 177, False)],
)
def test_one_row_or_a_hundredth_may_be_lost(rows, theirs, ours, passed):
    """Whatever rounding makes of 0.9 - 0.89."""
    served, expected = ([ranked("POS")] * right + [ranked("NEG")] * (rows - right) for right in (ours, theirs))
    score = scores_of("text-classification", asked(*["POS"] * rows), SIGNS, served, expected)[0]
    assert (score.name, score.rows, score.passed) == ("accuracy", rows, passed)


def test_a_row_of_a_rare_label_may_be_lost():
    """It weighs more in macro F1 than in the rows; two such rows may not."""
    labels = ["POS"] * 997 + ["NEG"] * 3
    expected = [ranked(label) for label in labels]

    def passed(lost):
        served = [*expected[: 1000 - lost], *[ranked("POS")] * lost]
        return {
            score.name: score.passed
            for score in scores_of("text-classification", asked(*labels), SIGNS, served, expected)
        }

    assert passed(1) == {"accuracy": True, "macro F1": True}
    assert passed(3) == {"accuracy": True, "macro F1": False}


def test_a_score_without_pytorchs_is_no_pass():
    """Nothing is known of it but its value; a value that is not a number fails all the same."""
    (score, _) = scores_of("text-classification", asked("POS"), SIGNS, [ranked("POS")])
    assert (score.served, score.pytorch, score.passed) == (1.0, None, None)
    assert Score("perplexity", 1, math.nan).passed is False


def test_without_labels_there_is_nothing_to_score():
    """Nor where the task has no metric."""
    assert scores_of("text-classification", asked(inputs="a"), SIGNS, [ranked("POS")]) == ()
    assert scores_of("feature-extraction", asked("x"), SIGNS, [[0.0]]) == ()
