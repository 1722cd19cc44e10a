"""The stream of text gives whole characters, joins to what the tokenizer decodes, and ends where transformers ends."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, StopStringCriteria

from hf2triton.triton_models.clean_up import CleanUp, cleaned
from hf2triton.triton_models.generation.detokenize import Detokenizer

TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps.\n\nThe fox does not stop.",
    "Ünïcödé: naïve café 😀👩‍👩‍👧 — 東京は日本の首都です。 здравствуй, мир",
    "\ufffd is a character too, \x00 as well; a family: 👨‍👩‍👧‍👦, a flag: 🇪🇺.",
]


def byte_level() -> Tokenizer:
    """A byte-level BPE as GPT-2's, with few merges, so that most characters beyond ASCII span tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def with_added_tokens() -> Tokenizer:
    """The same with tokens that users added: special ones, and some with characters that are no bytes of its alphabet."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.add_tokens([AddedToken("<user>", lstrip=True, rstrip=True), "two words", "é", "東", " .", "\ufffd"])
    return tokenizer


def wordpiece() -> Tokenizer:
    """As Chinese GPT-2 checkpoints have it."""
    words = ["[UNK]", "the", "dog", "##s", ".", "'", "n't", ",", "\ufffd"]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def metaspace() -> Tokenizer:
    """As checkpoints with a sentencepiece model have it."""
    words = ["▁", "▁the", "dog", "s", "▁▁", "東"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in words], 0))
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def bytes_of(text: str) -> list[int]:
    """A token for each byte of a text."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [TOKENIZER.token_to_id(byte) for part, _ in split.pre_tokenize_str(text) for byte in part]


TOKENIZER = byte_level()
EOS = TOKENIZER.token_to_id("<|endoftext|>")
END = TOKENIZER.get_vocab_size()
ids = st.lists(st.integers(0, END + 1), max_size=40)  # the model may have logits for tokens that the tokenizer lacks
texts = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.sampled_from("ab .\n東京é😀\ufffd"), max_size=20),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
stops = st.lists(st.text(st.sampled_from("ab .東😀"), min_size=1, max_size=4), min_size=1, max_size=3)


def stream(tokens, **options) -> tuple[list[str], Detokenizer]:
    """All pieces, the last from `finish`."""
    text = Detokenizer(options.pop("tokenizer", TOKENIZER), **options)
    return [*[text.push(token) for token in tokens], text.finish()], text


def first_end(text: str, stop: list[str]) -> int | None:
    """How many characters of a text it takes until a stop string is complete."""
    return next((end for end in range(1, len(text) + 1) if text[:end].endswith(tuple(stop))), None)


@given(ids, st.booleans())
def test_pieces_join_to_the_decoded_text(tokens, skip):
    """Whatever bytes the tokens hold, the pieces are the tokenizer's text, special tokens left out if asked."""
    pieces, _ = stream(tokens, skip_special_tokens=skip)
    assert "".join(pieces) == TOKENIZER.decode(tokens, skip_special_tokens=skip)


@pytest.mark.parametrize(
    "tokenizer", [wordpiece(), metaspace(), with_added_tokens()], ids=["wordpiece", "metaspace", "added"]
)
@given(data=st.data())
def test_other_decoders_join_as_well(tokenizer, data):
    """Decoders that put or strip spaces before a word give the same spaces piece by piece, and so do added tokens."""
    tokens = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=20))
    for skip in (True, False):
        pieces, _ = stream(tokens, tokenizer=tokenizer, skip_special_tokens=skip)
        assert "".join(pieces) == tokenizer.decode(tokens, skip_special_tokens=skip)


@given(st.lists(st.sampled_from([*" .?!,'ntmsver", "n't", " ' ", "a", "東"])), st.integers(1, 4))
def test_text_is_cleaned_up_piece_by_piece(parts, size):
    """The pieces join to what transformers makes of the whole, and only what may still change is held back."""
    text = "".join(parts)
    clean_up, given_so_far = CleanUp(), ""
    for begin in range(0, len(text), size):
        given_so_far += clean_up.push(text[begin : begin + size])
        assert text[: begin + size].endswith((" ", "'", "n", "v", "r")) or given_so_far == cleaned(text[: begin + size])
    given_so_far += clean_up.finish()
    assert (
        given_so_far == cleaned(text) == PreTrainedTokenizerFast(tokenizer_object=TOKENIZER).clean_up_tokenization(text)
    )


def test_words_are_cleaned_up_where_the_tokenizer_asks_for_it():
    """As transformers decodes with clean_up_tokenization_spaces; without, the spaces stay."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["a", ".", "'", "re", "n't"])}, "a"))
    tokens = [0, 1, 0, 4, 0, 2, 3, 1]
    theirs = PreTrainedTokenizerFast(tokenizer_object=words, clean_up_tokenization_spaces=True)
    assert "".join(stream(tokens, tokenizer=words, clean_up=True)[0]) == theirs.decode(tokens) == "a. an't a're."
    assert "".join(stream(tokens, tokenizer=words)[0]) == words.decode(tokens)


@given(texts)
def test_no_character_is_torn(text):
    """A text that was tokenized comes back in pieces that hold its own characters only, each as soon as it is complete."""
    tokens = TOKENIZER.encode(text).ids
    pieces, _ = stream(tokens)
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        sent = 0
        for count, piece in enumerate(pieces[:-1], 1):
            sent += len(piece)
            assert text[:sent] == TOKENIZER.decode(tokens[:count]).rstrip("\ufffd")


def test_an_emoji_comes_with_its_last_token():
    """The first three of an emoji's four bytes give nothing, the last gives all of it."""
    tokens = bytes_of("🐙")
    assert stream(tokens)[0] == ["", "", "", "🐙", ""]
    assert stream(tokens[:3])[0] == ["", "", "", "\ufffd"]


@given(texts, stops, st.booleans())
def test_the_text_ends_before_the_stop_string(text, stop, byte_by_byte):
    """The pieces are the text before the stop string that is complete first, however it is cut into tokens."""
    tokens = bytes_of(text) if byte_by_byte else TOKENIZER.encode(text).ids
    pieces, result = stream(tokens, stop=stop)
    end = first_end(text, stop)
    if end is None:
        assert ("".join(pieces), result.stopped) == (text, None)
    else:
        expected = max((one for one in stop if text[:end].endswith(one)), key=len)
        assert ("".join(pieces), result.stopped) == (text[: end - len(expected)], expected)


@given(texts, stops)
def test_only_what_may_begin_a_stop_string_is_held_back(text, stop):
    """After each token everything is given but the longest end of the text that begins a stop string."""
    tokens = TOKENIZER.encode(text.replace("\ufffd", "")).ids
    result = Detokenizer(TOKENIZER, stop=stop)
    sent = ""
    for count, token in enumerate(tokens, 1):
        sent += result.push(token)
        if result.stopped:
            break
        certain = TOKENIZER.decode(tokens[:count]).rstrip("\ufffd")
        beginnings = {one[:length] for one in stop for length in range(1, len(one))}
        held = max((len(beginning) for beginning in beginnings if certain.endswith(beginning)), default=0)
        assert sent == certain[: len(certain) - held]


@given(st.sampled_from(TEXTS).map(lambda text: text.replace("\ufffd", "")), st.data())
def test_stops_at_the_token_at_which_transformers_stops(text, data):
    """The same number of tokens as with StopStringCriteria, also where a stop string begins in the prompt, and
    with keep_stop the same text."""
    tokens = TOKENIZER.encode(text).ids
    whole = [count for count in range(1, len(tokens)) if not TOKENIZER.decode(tokens[:count]).endswith("\ufffd")]
    start = data.draw(st.sampled_from(whole))  # a prompt is a text, so that it ends with a character
    begin = data.draw(st.integers(0, len(text) - 1))
    stop = [text[begin : begin + data.draw(st.integers(1, 6))]]
    criteria = StopStringCriteria(PreTrainedTokenizerFast(tokenizer_object=TOKENIZER), stop)
    expected = next(
        (end for end in range(start + 1, len(tokens) + 1) if criteria(torch.tensor([tokens[:end]]), None).item()), None
    )
    result = Detokenizer(TOKENIZER, tokens[:start], stop=stop, keep_stop=True)
    pieces = []
    actual = None
    for end in range(start + 1, len(tokens) + 1):
        pieces.append(result.push(tokens[end - 1]))
        if result.stopped:
            actual = end
            break
    assert actual == expected
    assert "".join([*pieces, result.finish()]) == TOKENIZER.decode(tokens[start:actual])


def test_a_stop_string_may_begin_in_the_prompt():
    """With a prompt that ends in a line feed, one more is "\\n\\n"; the prompt's part of it is not given."""
    prompt, feed = TOKENIZER.encode("The dog\n").ids, TOKENIZER.token_to_id("Ċ")
    pieces, result = stream([feed], prompt_ids=prompt, stop=["\n\n"])
    assert (pieces, result.stopped) == (["", ""], "\n\n")
    assert stream([feed], stop=["\n\n"])[0] == ["", "\n"]


def test_the_prompt_alone_stops_nothing():
    """A stop string that is in the prompt as a whole does not count."""
    prompt = TOKENIZER.encode("The fox").ids
    assert "".join(stream(TOKENIZER.encode(" dog").ids, prompt_ids=prompt, stop=["fox"])[0]) == " dog"


def test_nothing_comes_after_the_stop_string():
    """Tokens that are pushed after the end give nothing."""
    result = Detokenizer(TOKENIZER, stop=["dog"])
    assert "".join(result.push(token) for token in TOKENIZER.encode("The dog sleeps").ids) == "The "
    assert (result.push(TOKENIZER.token_to_id("a")), result.finish(), result.stopped) == ("", "", "dog")


def test_special_tokens_are_skipped_or_spelled():
    """The end of text is no text, unless it is asked for."""
    assert "".join(stream([EOS])[0]) == ""
    assert "".join(stream([EOS], skip_special_tokens=False)[0]) == "<|endoftext|>"


class Counting:
    """A tokenizer that counts the tokens it is asked to decode."""

    def __init__(self) -> None:
        self.decoded = 0

    def __getattr__(self, name):
        return getattr(TOKENIZER, name)

    def decode(self, tokens, **options):
        self.decoded += len(tokens)
        return TOKENIZER.decode(tokens, **options)


@pytest.mark.parametrize("byte", [0, -1], ids=["beginning of a character", "rest of a character"])
def test_the_cost_of_a_token_does_not_grow(byte):
    """Even where no character is ever complete, a token makes at most 9 tokens be decoded."""
    tokenizer, tokens = Counting(), [bytes_of("é")[byte]] * 500
    assert "".join(stream(tokens, tokenizer=tokenizer)[0]) == "\ufffd" * 500
    assert tokenizer.decoded <= 9 * 500 + 9


def test_byte_fallback_is_refused():
    """Tokenizers whose text can change after it was given are named, not served with wrong text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    with pytest.raises(ValueError, match="byte fallback"):
        Detokenizer(tokenizer)
