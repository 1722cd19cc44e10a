"""Filled masks, against the fill-mask pipeline of transformers on small models with random weights."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from hf2triton.triton_models.fill_mask import MAX_ANSWERS, FillMaskEncoder, FillMaskParameters

from ...support import ASSETS, assert_outputs_match

FOLDER = ASSETS / "bert-ner"
TEXTS = [
    "Paris is the [MASK] of France.",
    "[MASK]",
    "  I do n't know, it 's the [MASK] ' s  !  ",
    "Ünïcödé [MASK] 😀 — 東京 здравствуй , e\u0301",
    "[CLS] The [SEP] words [PAD] are [MASK] [UNK] .",
    "Two [MASK] in one [MASK]?",
    "[MASK][MASK] [MASK]",
]
OPTIONS = [
    {},
    {"top_k": 1},
    {"top_k": 40},
    {"targets": "city"},
    {"targets": ["the", "of", "##s", "the", "Constantinopolitan", "\u200b", "東京", "[MASK]", "."], "top_k": 20},
    {"targets": ["the", "of"], "top_k": 1},
]
TOKENIZER = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
PAD = TOKENIZER.token_to_id("[PAD]")


def bert():
    from transformers import BertConfig, BertForMaskedLM

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertForMaskedLM(BertConfig(vocab_size=TOKENIZER.get_vocab_size(), initializer_range=0.5, **size))


def distilbert():
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    size = {"dim": 16, "hidden_dim": 16, "n_layers": 1, "n_heads": 2}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=TOKENIZER.get_vocab_size(), initializer_range=0.5, **size))


@pytest.fixture(scope="module", params=[bert, distilbert], ids=["bert", "distilbert"])
def model(request):
    torch.manual_seed(7)
    return request.param().eval()


@pytest.mark.parametrize("clean_up", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=json.dumps)
def test_answers_equal_those_of_transformers(model, options, clean_up):
    """Scores, tokens, their text and the filled text are those of transformers' own pipeline."""
    from transformers import AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(FOLDER, clean_up_tokenization_spaces=clean_up)
    theirs = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    ours = FillMaskEncoder(TOKENIZER, "[MASK]", PAD, clean_up)
    parameters = FillMaskParameters.parse(json.dumps(options))
    for text in TEXTS:
        encoding = TOKENIZER.encode(text)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([encoding.ids])).logits[0].numpy()
        row = ours.row(encoding, parameters)
        actual = ours.answers(row, ours.likeliest(row, logits[list(row.positions)]))
        assert_outputs_match(theirs(text, **options), actual, atol=1e-6)


@given(
    st.lists(st.sampled_from(["the", ".", "?", "!", ",", "'", "n't", "'m", "'s", "'ve", "'re", "##s"]), min_size=1),
    st.booleans(),
)
def test_decoding_equals_transformers(tokens, clean_up):
    """Filled texts are spelled as the tokenizer of transformers spells them, with clean-up and without."""
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER, clean_up_tokenization_spaces=clean_up)
    ours = FillMaskEncoder(TOKENIZER, "[MASK]", PAD, clean_up)
    encoding = TOKENIZER.encode([*tokens, "[MASK]"], is_pretokenized=True)
    row = ours.row(encoding, FillMaskParameters(top_k=1))
    logits = np.zeros((1, TOKENIZER.get_vocab_size()), dtype=np.float32)
    logits[0, TOKENIZER.token_to_id(".")] = 1
    [answer] = ours.answers(row, ours.likeliest(row, logits))
    ids = [TOKENIZER.token_to_id(".") if token == TOKENIZER.token_to_id("[MASK]") else token for token in encoding.ids]
    assert answer["sequence"] == theirs.decode(ids, skip_special_tokens=True)


def fill_mask():
    return FillMaskEncoder(TOKENIZER, "[MASK]", PAD, False)


def test_a_text_without_a_mask_is_told():
    """The error names the mask token, and says so where the text was cut before it."""
    with pytest.raises(ValueError, match=r"the text has no mask token \(\[MASK\]\)$"):
        fill_mask().row(TOKENIZER.encode("Paris"), FillMaskParameters())
    encoding = TOKENIZER.encode("Paris is the [MASK]")
    encoding.truncate(3)
    with pytest.raises(ValueError, match=r"no mask token \(\[MASK\]\) within its first 3 tokens, to which it was cut"):
        fill_mask().row(encoding, FillMaskParameters())


def test_targets_without_tokens_are_told():
    """Targets that are nothing to the tokenizer are an error, not an answer without them."""
    with pytest.raises(ValueError, match="none of the targets has a token"):
        fill_mask().row(TOKENIZER.encode("[MASK]"), FillMaskParameters(targets=("\u200b", " ")))


def test_answers_are_limited():
    """Many masks with many answers each would hold up other requests; few targets make few answers."""
    encoding = TOKENIZER.encode("[MASK] " * 101)
    with pytest.raises(
        ValueError, match=f"100 answers for each of 101 mask tokens are too many; at most {MAX_ANSWERS:,}"
    ):
        fill_mask().row(encoding, FillMaskParameters(top_k=100))
    assert fill_mask().row(encoding, FillMaskParameters(top_k=100, targets=("the", "of"))).top_k == 2


def test_a_tokenizer_without_the_mask_token_is_refused():
    """A mask token that the tokenizer does not know is found at the start."""
    with pytest.raises(ValueError, match="the tokenizer has no token <mask>"):
        FillMaskEncoder(TOKENIZER, "<mask>", PAD, False)


def test_a_row_has_the_length_of_its_text():
    """Rows are planned by their tokens."""
    encoding = TOKENIZER.encode("Two [MASK] in one [MASK]?")
    row = fill_mask().row(encoding, FillMaskParameters())
    assert len(row) == len(encoding)
    assert [encoding.tokens[position] for position in row.positions] == ["[MASK]", "[MASK]"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", FillMaskParameters(5, None)),
        ('{"top_k": null, "targets": null}', FillMaskParameters(5, None)),
        ('{"top_k": 3, "targets": "a"}', FillMaskParameters(3, ("a",))),
        ('{"targets": ["a", "b"]}', FillMaskParameters(5, ("a", "b"))),
    ],
)
def test_parameters_are_taken_as_given(text, expected):
    """Every parameter can be set or left out; a lone target is a string."""
    assert FillMaskParameters.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "not JSON"),
        ('{"top_k": 0}', "top_k must be an integer from 1 to"),
        ('{"targets": []}', "targets must be a string or a list of strings that is not empty"),
        ('{"targets": ["a", 1]}', "targets must be a string or a list of strings"),
        ('{"target": "a"}', "unknown parameters target; known are top_k, targets"),
    ],
)
def test_bad_parameters_are_told(text, message):
    """The error names the parameter and what it must be."""
    with pytest.raises(ValueError, match=message):
        FillMaskParameters.parse(text)
