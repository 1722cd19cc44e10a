"""Windows and spans, against what transformers 4 answered with the same checkpoint (tests/records)."""

import hashlib
import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.processors import RobertaProcessing

from hf2triton.triton_models.question_answering import MAX_TOP_K, MAX_WINDOWS, QuestionEncoder, QuestionParameters

from ...support import ASSETS, assert_outputs_match

CHECKPOINT = ASSETS / "bert-qa"
MAX_LENGTH = 128
RECORD = json.loads((ASSETS.parent / "records" / "question_answering.json").read_text(encoding="utf-8"))
TOKENIZER = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
CLS = TOKENIZER.token_to_id("[CLS]")

texts = st.text(st.sampled_from("ab .\n😀é東e\u0301"), min_size=1, max_size=200)
sides = st.sampled_from(["right", "left"])


def plain(**sides):
    return QuestionEncoder(TOKENIZER, MAX_LENGTH, CLS, **sides)


@pytest.fixture(scope="module")
def ask():
    """Asks the checkpoint in PyTorch: rows → their logits, float32 [tokens, 2]."""
    from transformers import BertForQuestionAnswering

    model = BertForQuestionAnswering.from_pretrained(CHECKPOINT).eval()

    @torch.no_grad()
    def ask(rows):
        answers = []
        for row in rows:
            output = model(input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([row.type_ids]))
            answers.append(torch.stack([output.start_logits[0], output.end_logits[0]], dim=-1).numpy())
        return answers

    return ask


def certain(answers):
    """The answers that have a probability: of spans with the score 0, numpy's versions choose different ones."""
    return [answer for answer in answers if answer["score"] > 0]


@pytest.mark.parametrize("index", range(len(RECORD["cases"])))
def test_answers_equal_those_of_transformers_4(ask, index):
    """Windows, spans, character offsets, scores and their order are those of the recorded pipeline."""
    case = RECORD["cases"][index]
    questions, contexts, expected = case["question"], case["context"], case["result"]
    if isinstance(questions, str):
        questions, expected = [questions], [expected]
    contexts = [contexts] * len(questions) if isinstance(contexts, str) else contexts
    parameters = QuestionParameters.parse(json.dumps(case["options"]))
    answering = plain(**case["sides"])
    for question, context, result in zip(questions, contexts, expected, strict=True):
        windows = answering.windows(question, context, parameters)
        actual = answering.answers(windows, ask(windows.rows))
        result = result if isinstance(result, list) else [result]
        assert_outputs_match(certain(result), certain(actual), atol=1e-5)


def test_the_record_is_of_this_checkpoint():
    """A checkpoint that was trained anew needs a new record: run tests/records/record_question_answering.py."""
    digests = {name: hashlib.sha256((CHECKPOINT / name).read_bytes()).hexdigest() for name in RECORD["checkpoint"]}
    assert digests == RECORD["checkpoint"]


@given(texts, texts, st.integers(8, 64), st.integers(0, 20), sides, sides)
def test_windows_hold_the_whole_context(question, context, max_seq_len, doc_stride, padding_side, truncation_side):
    """Every token of the context is in a window, none is longer than asked, and each has the whole question."""
    answering = plain(padding_side=padding_side, truncation_side=truncation_side)
    whole = TOKENIZER.encode(context, add_special_tokens=False).offsets
    asked = TOKENIZER.encode(question, add_special_tokens=False).ids
    try:
        rows = answering.windows(
            question, context, QuestionParameters(max_seq_len=max_seq_len, doc_stride=doc_stride)
        ).rows
    except ValueError:
        assert len(asked) + 3 + doc_stride >= max_seq_len or len(whole) > MAX_WINDOWS
        return
    sequence = 1 if padding_side == "right" else 0
    found = [place for row in rows for place in _of_sequence(row, row.offsets, sequence)]
    assert sorted(set(found)) == sorted(set(whole))
    for row in rows:
        assert len(row) <= max_seq_len
        assert _of_sequence(row, row.ids, 1 - sequence) == asked


def _of_sequence(row, values, sequence):
    return [value for value, own in zip(values, row.sequence_ids, strict=True) if own == sequence]


@given(texts, texts, st.data())
def test_answers_are_text_of_the_context(question, context, data):
    """Whatever the logits, an answer is what stands at its offsets; the best comes first, and no more than asked."""
    parameters = QuestionParameters(
        top_k=data.draw(st.integers(1, 20)),
        max_answer_len=data.draw(st.integers(1, 30)),
        handle_impossible_answer=data.draw(st.booleans()),
        align_to_words=data.draw(st.booleans()),
    )
    answering = plain()
    try:
        windows = answering.windows(question, context, parameters)
    except ValueError:
        return
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    logits = [random.normal(0, 5, (len(row), 2)).astype(np.float32) for row in windows.rows]
    answers = answering.answers(windows, logits)
    assert len(answers) <= parameters.top_k
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    for answer in answers:
        assert list(answer) == ["score", "start", "end", "answer"]
        assert [type(value) for value in answer.values()] == [float, int, int, str]
        assert answer["answer"] == context[answer["start"] : answer["end"]]
    for answer in certain(answers):
        null = answer["start"] == answer["end"] == 0
        assert parameters.handle_impossible_answer if null else 0 <= answer["start"] < answer["end"] <= len(context)


@given(
    texts,
    texts,
    st.builds(
        QuestionParameters, max_seq_len=st.none() | st.integers(1, 200), doc_stride=st.none() | st.integers(0, 200)
    ),
)
def test_lengths_that_do_not_fit_are_errors(question, context, parameters):
    """Any lengths end in windows or in a ValueError: a panic of tokenizers would stop the whole server."""
    try:
        rows = plain().windows(question, context, parameters).rows
    except ValueError:
        return
    assert 1 <= len(rows) <= MAX_WINDOWS
    assert max(len(row) for row in rows) <= MAX_LENGTH


@pytest.mark.parametrize(
    ("question", "context", "parameters", "message"),
    [
        ("", "a", {}, "the question cannot be empty"),
        ("a", "", {}, "the context cannot be empty"),
        ("a " * 200, "a", {}, "the question is too long"),
        ("a " * 100, "a " * 100, {}, r"doc_stride \(64\) must be less than the 25 tokens"),
        ("a", "a", {"doc_stride": 30, "max_seq_len": 20}, r"doc_stride \(30\) is larger than max_seq_len \(20\)"),
        ("a", "a " * 300, {"max_seq_len": 256}, "max_seq_len is 256 and the text has 304 tokens; the model takes 128"),
        ("a", "a " * 9000, {}, "9,000 tokens, 149 windows; at most 64 are taken"),
    ],
)
def test_what_cannot_be_asked_is_told(question, context, parameters, message):
    """The error names the lengths that do not fit."""
    with pytest.raises(ValueError, match=message):
        plain().windows(question, context, QuestionParameters(**parameters))


def test_the_number_of_windows_is_foreseen():
    """What is counted before a context is cut is what the tokenizer makes of it, at the limit too."""
    # a window has 124 tokens for the context, of which 60 are new
    most = "a " * (124 + 60 * (MAX_WINDOWS - 1))
    assert len(plain().windows("a", most, QuestionParameters()).rows) == MAX_WINDOWS
    with pytest.raises(ValueError, match=f"{MAX_WINDOWS + 1} windows"):
        plain().windows("a", most + "a", QuestionParameters())


def test_windows_of_large_models_are_those_of_transformers():
    """Where the model would take more, windows have 384 tokens and share 128 of the context."""
    first, second, *_ = QuestionEncoder(TOKENIZER, 512, CLS).windows("a", "a " * 1000, QuestionParameters()).rows
    assert (len(first), len(second)) == (384, 384)
    assert len(set(_of_sequence(first, first.offsets, 1)) & set(_of_sequence(second, second.offsets, 1))) == 128


def test_requests_leave_no_trace():
    """Neither the given tokenizer nor the next request is cut as the last request asked."""
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    tokenizer.enable_truncation(7)
    answering = QuestionEncoder(tokenizer, MAX_LENGTH, CLS)
    assert len(answering.windows("a", "a " * 50, QuestionParameters(max_seq_len=16, doc_stride=2)).rows) > 1
    assert [len(row) for row in answering.windows("a", "a " * 50, QuestionParameters()).rows] == [54]
    assert tokenizer.truncation["max_length"] == 7


def test_tokenizers_may_differ():
    """Another frame of special tokens, and type ids that are all the same, give the same answers."""
    tokenizer = Tokenizer.from_str(TOKENIZER.to_str())
    cls, sep = (("[CLS]", CLS), ("[SEP]", tokenizer.token_to_id("[SEP]")))
    tokenizer.post_processor = RobertaProcessing(sep, cls)
    answering = QuestionEncoder(tokenizer, MAX_LENGTH, CLS)
    windows = answering.windows(
        "Who?", "Nobody. " * 20 + "Anna Berg was here.", QuestionParameters(max_seq_len=32, doc_stride=8)
    )
    assert len(windows.rows) > 1
    assert {type_id for row in windows.rows for type_id in row.type_ids} == {0}
    logits = [[(9.0 * (token == "Anna"), 9.0 * (token == "##g")) for token in row.tokens] for row in windows.rows]
    [answer] = answering.answers(windows, [np.array(row, dtype=np.float32) for row in logits])
    assert (answer["answer"], answer["start"], answer["end"]) == ("Anna Berg", 160, 169)


def test_parameters_have_the_defaults_of_transformers():
    """An empty object and one of nulls stand for what transformers 4 does unless told otherwise."""
    names = [field.name for field in fields(QuestionParameters)]
    expected = QuestionParameters(1, None, 15, None, 64, False, True)
    assert QuestionParameters.parse("{}") == QuestionParameters.parse(json.dumps(dict.fromkeys(names))) == expected


def test_parameters_are_taken_as_given():
    """Every parameter can be set."""
    given = dict(
        zip((field.name for field in fields(QuestionParameters)), (3, 0, 7, 100, 20, True, False), strict=True)
    )
    assert QuestionParameters.parse(json.dumps(given)) == QuestionParameters(3, 0, 7, 100, 20, True, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", r"must be a JSON object, not \[1\]"),
        ('{"topk": 1, "k": 2}', "unknown parameters k, topk; known are top_k, doc_stride"),
        ('{"top_k": 0}', f"top_k must be an integer from 1 to {MAX_TOP_K}, not 0"),
        (f'{{"top_k": {MAX_TOP_K + 1}}}', f"from 1 to {MAX_TOP_K}"),
        ('{"top_k": true}', "not true"),
        ('{"top_k": 1.0}', "not 1.0"),
        ('{"doc_stride": -1}', "doc_stride must be an integer of at least 0, not -1"),
        ('{"max_answer_len": 0}', "max_answer_len must be an integer of at least 1"),
        ('{"max_seq_len": "128"}', 'max_seq_len must be an integer of at least 1, not "128"'),
        ('{"max_question_len": []}', "max_question_len must be an integer"),
        ('{"handle_impossible_answer": 1}', "handle_impossible_answer must be true or false, not 1"),
        ('{"align_to_words": "no"}', "align_to_words must be true or false"),
    ],
)
def test_bad_parameters_are_told(text, message):
    """The error names the parameter, what it must be and what was sent."""
    with pytest.raises(ValueError, match=message):
        QuestionParameters.parse(text)


def test_huge_lengths_are_no_trouble(ask):
    """A max_answer_len beyond any integer type means no limit."""
    windows = plain().windows("Who?", "Anna Berg", QuestionParameters(max_answer_len=10**30, max_seq_len=10**30))
    unlimited = plain().windows("Who?", "Anna Berg", QuestionParameters(max_answer_len=100))
    logits = ask(windows.rows)
    assert plain().answers(windows, logits) == plain().answers(unlimited, logits)
