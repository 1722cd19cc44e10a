"""Tokenizers of many kinds, and texts that are hard to cut."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, decoders, models, trainers
from tokenizers import normalizers as norm
from tokenizers import pre_tokenizers as pre
from tokenizers import processors as post

from ...support import ASSETS

#: Pieces of texts: words, white space, marks, Chinese, emoji, controls, added tokens and what normalizers make more or less of.
UNITS = (
    *("a", "word", "Hello", "unbelievably", "ÉCOLE", "é", "don't", "a-b", "http://x.y/z?q=1", "1", "23", "4a", "1e5"),
    *(" ", "  ", "   ", "\n", "\t", "\r\n", " \t ", "\xa0", "\u3000", "\u2009", "\x0b", "\x1c", "\x85"),
    *("!", "!!", "...", "'", "''", "'s", "'re", "’", "``", "_", "-", "=", "<", "|", "[", ">"),
    *("\u0301", "e\u0301", "=\u0338", "x=\u0338", "\u0300\u0323", "\u0345", "ͺ", "ﾞ", "ｶﾞ", "\u093e", "क\u094d"),
    *("東", "京都", "。", "龥", "\u9fff", "안녕", "한", "\u1100\u1161", "\u11a8", "กำ", "ไทย"),
    *(
        "😀",
        "👨‍👩‍👧",
        "🇩🇪",
        "\u200d",
        "\u200b",
        "\ufeff",
        "\x00",
        "\x07",
        "\ufffd",
        "\u0600",
        "\u0d4e",
        "\xad",
        "\ue000",
    ),
    *("ﷺ", "ﬁ", "İ", "ı", "ß", "Σ", "ΑΣ", "½", "𝔘", "①", "Ａ", "¨", "▁", "Ġ", "##a", "a" * 40, "東" * 9),
    *("[MASK]", "[mask]", "<mask>", "<MASK>", "<s>", "</s>", "<|endoftext|>", "<|STARTOFTEXT|>", "[UNK]"),
    *("whole", "<9>", "ΑΣ1", "ab1", "Ab", "<two words>"),
)
hard_texts = st.lists(
    st.one_of(st.sampled_from(UNITS), st.sampled_from((" ", "a", "word ", "!")), st.characters(codec="utf-8")),
    max_size=50,
).map("".join)
_CORPUS = "Hello word, don't say unbelievably: the école has 23 doors... a-b é 東京 😀 [MASK]! " * 3


def of_asset(name: str) -> Tokenizer:
    """A checkpoint's tokenizer, as entries have it."""
    definition = json.loads((ASSETS / name / "tokenizer.json").read_text("utf-8"))
    return Tokenizer.from_str(json.dumps(definition | {"truncation": None, "padding": None}))


def charsmap(mapping: Mapping[str, str]) -> bytes:
    """What a `Precompiled` normalizer holds, as SentencePiece writes it: a double-array trie, and what its keys become."""
    trie: dict[int, Any] = {}
    results = b""
    for key, value in mapping.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(results)
        results += value.encode() + b"\0"
    units, used = [0] * 2048, {0}

    def place(node: dict[int, Any], at: int) -> None:
        base = next(base for base in range(1, 1024) if used.isdisjoint(at ^ base ^ label for label in node))
        units[at] |= base << 10 | (0 in node) << 8
        used.update(at ^ base ^ label for label in node)
        for label, child in node.items():
            units[at ^ base ^ label] = label if label else child | 1 << 31
        for label, child in node.items():
            if label:
                place(child, at ^ base ^ label)

    place(trie, 0)
    return struct.pack(f"<{1 + len(units)}I", 4 * len(units), *units) + results


_CHARSMAP = charsmap(
    {
        "\t": " ",
        "\n": " ",
        "\xa0": " ",
        "\u3000": " ",
        "ﬁ": "fi",
        "Ａ": "A",
        "\u200b": "",
        "½": "1/2",
        "ﷺ": "a b",
        "e\u0301": "é",
    }
)
_LONG_RUN = Regex(" {2,}")


def _unigram(normalizer: norm.Normalizer | None, pre_tokenizer: pre.PreTokenizer | None) -> Tokenizer:
    letters = sorted({*"abcdefghijklmnopqrstuvwxyzABHE0123459.,!?'-<>[]|/é東京▁"})
    words = [
        "▁word",
        "▁Hello",
        "word",
        "ell",
        "unb",
        "▁a",
        "!!",
        "...",
        "▁▁",
        "MASK",
        "京都",
        "▁(",
        "ab1",
        "don",
        "'s",
        "1/2",
    ]
    vocabulary = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [("word▁a", -0.1)]  # where a run of spaces does not end a word
    vocabulary += [(word, -2.0 - place / 7) for place, word in enumerate(words)]
    vocabulary += [(letter, -6.0 - place / 11) for place, letter in enumerate(letters)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    if normalizer is not None:
        made.normalizer = normalizer
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<s>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)])
    made.post_processor = post.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made


def _bpe(normalizer: norm.Normalizer | None, pre_tokenizer: pre.PreTokenizer | None) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer or pre.ByteLevel(add_prefix_space=False)
    if normalizer is not None:
        made.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([_CORPUS], trainer)
    made.post_processor = post.ByteLevel(trim_offsets=True)
    return made


def _word_level(normalizer: norm.Normalizer | None, pre_tokenizer: pre.PreTokenizer) -> Tokenizer:
    vocabulary = {
        word: index for index, word in enumerate(["[UNK]", "a", "word", "Hello", "!", "1", "ab1", "é", "foo"])
    }
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizer
    return made


def _clip_without_added() -> Tokenizer:
    definition = json.loads(tokenizer_of("CLIP"))
    definition["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = False
    return Tokenizer.from_str(json.dumps(definition | {"added_tokens": [], "post_processor": None}))


def _with_added(base: Callable[[], Tokenizer], *tokens: AddedToken) -> Callable[[], Tokenizer]:
    def make() -> Tokenizer:
        made = base()
        made.add_tokens(list(tokens))
        return made

    return make


def _roberta(**processing: bool) -> Tokenizer:
    made = of_asset("roberta-ner")
    sep, cls = (("</s>", 2), ("<s>", 0))
    made.post_processor = post.RobertaProcessing(sep, cls, **processing)
    made.pre_tokenizer = pre.ByteLevel(add_prefix_space=processing.get("add_prefix_space", False))
    return made


def _gpt2() -> Tokenizer:
    return of_asset("gpt2-verses")


#: name -> how it is made.
MAKERS: Mapping[str, Callable[[], Tokenizer]] = {
    "WordPiece uncased": lambda: of_asset("bert-sentiment"),
    "WordPiece cased": lambda: of_asset("bert-ner"),
    "GPT-2": _gpt2,
    "RoBERTa": lambda: of_asset("roberta-ner"),
    "RoBERTa with a prefix": lambda: _roberta(add_prefix_space=True, trim_offsets=True),
    "RoBERTa with spaces in offsets": lambda: _roberta(add_prefix_space=False, trim_offsets=False),
    "CLIP": lambda: of_asset("clip-fashion"),
    "CLIP without added tokens": _clip_without_added,
    "XLM-R of today": lambda: _unigram(
        norm.Sequence([norm.Precompiled(_CHARSMAP), norm.Replace(_LONG_RUN, " ")]),
        pre.Metaspace(prepend_scheme="always"),
    ),
    "XLM-R of before": lambda: _unigram(
        norm.Precompiled(_CHARSMAP), pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])
    ),
    "T5": lambda: _unigram(
        norm.Sequence([norm.Precompiled(_CHARSMAP), norm.Strip(left=False, right=True), norm.Replace(_LONG_RUN, "▁")]),
        pre.Metaspace(prepend_scheme="first"),
    ),
    "NFKC and Metaspace": lambda: _unigram(norm.NFKC(), pre.Metaspace(prepend_scheme="always")),
    "Metaspace alone": lambda: _unigram(None, pre.Metaspace(prepend_scheme="first")),
    "Metaspace that does not split": lambda: _unigram(norm.NFKC(), pre.Metaspace(split=False)),
    "Strip on the left": lambda: _unigram(norm.Strip(), pre.Metaspace()),
    "spaces become letters": lambda: _unigram(norm.Replace(_LONG_RUN, "▁"), pre.WhitespaceSplit()),
    "spaces are removed": lambda: _word_level(norm.Replace(Regex(r"\s+"), ""), pre.Whitespace()),
    "Nmt": lambda: _unigram(norm.Sequence([norm.Nmt(), norm.NFKC()]), pre.Metaspace()),
    "no words at all": lambda: _unigram(norm.Sequence([norm.Prepend("▁"), norm.Replace(" ", "▁")]), pre_tokenizer=None),
    "byte level with a prefix": lambda: _bpe(None, pre.ByteLevel(add_prefix_space=True)),
    "byte level after NFC": lambda: _bpe(norm.NFC(), pre.ByteLevel(add_prefix_space=False)),
    "byte level after white space": lambda: _bpe(None, pre.Sequence([pre.WhitespaceSplit(), pre.ByteLevel()])),
    "Llama 3": lambda: _bpe(
        None,
        pre.Sequence(
            [pre.Split(Regex(r"\p{L}+|\p{N}{1,3}|\s+|[^\s\p{L}\p{N}]+"), "isolated"), pre.ByteLevel(use_regex=False)]
        ),
    ),
    "words": lambda: _word_level(norm.Sequence([norm.NFD(), norm.StripAccents(), norm.Lowercase()]), pre.Whitespace()),
    "words as they are": lambda: _word_level(None, pre.Whitespace()),
    "punctuation after NFC": lambda: _word_level(norm.NFC(), pre.BertPreTokenizer()),
    "punctuation as it is": lambda: _word_level(None, pre.BertPreTokenizer()),
    "lstrip": _with_added(_gpt2, AddedToken("<mask>", lstrip=True), AddedToken("<9>")),
    "rstrip": _with_added(_gpt2, AddedToken("<mask>", rstrip=True)),
    "single_word": _with_added(_gpt2, AddedToken("whole", single_word=True), AddedToken("ab1", single_word=True)),
    "added tokens of several kinds of characters": _with_added(
        _gpt2, AddedToken("ΑΣ1"), AddedToken("ab1"), AddedToken("!!a")
    ),
    "added words": _with_added(_gpt2, AddedToken("<two words>")),
    "normalized tokens": _with_added(
        lambda: of_asset("bert-sentiment"), AddedToken("AB1", normalized=True), AddedToken("École", normalized=True)
    ),
}


@functools.cache
def tokenizer_of(kind: str) -> str:
    return MAKERS[kind]().to_str()


def state(encoding: Encoding) -> dict[str, Any]:
    """All that an encoding holds, but for what is cut off and the words, which rows of long texts do not have."""
    names = ("ids", "type_ids", "tokens", "offsets", "special_tokens_mask", "attention_mask", "sequence_ids")
    return {name: getattr(encoding, name) for name in names}
