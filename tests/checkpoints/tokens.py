"""Tokenizers."""

from __future__ import annotations

from .case import Case, Equal, all_of, edited, without

SENTENCE = "Angela Schmidt of Acme Ltd flew to Paris on Monday."


def _vocabulary(ending: str):
    """vocab.txt in place of tokenizer.json, its lines with this ending."""

    def change(folder):
        from tokenizers import Tokenizer

        vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
        tokens = sorted(vocabulary, key=vocabulary.get)
        (folder / "vocab.txt").write_bytes(ending.join([*tokens, ""]).encode())

    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 128}
    return all_of(
        change, without("tokenizer.json", "tokenizer_config.json"), edited("tokenizer_config.json", **tokenizer)
    )


CASES = (
    Case("as it was trained", "bert-ner", lambda folder: None, Equal([SENTENCE], {"aggregation_strategy": "simple"})),
    Case("vocab.txt written on Windows", "bert-sentiment", _vocabulary("\r\n"), Equal(["It was great!", "ok"])),
)
