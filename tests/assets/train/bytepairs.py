"""GPT-2's tokenizer with a vocabulary of the recipe's own texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer

END = "<|endoftext|>"


def train_tokenizer(texts: Sequence[str], size: int, *, max_length: int) -> GPT2Tokenizer:
    """A byte-level BPE tokenizer of `size` tokens: every text comes back from it, whatever its script.

    The last token is `<|endoftext|>`: it begins and ends texts, and there is none for padding, as in GPT-2.
    """
    blank = Tokenizer(models.BPE())
    blank.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()  # all bytes, also those that the texts have not
    trainer = trainers.BpeTrainer(vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False)
    blank.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(blank.to_str())["model"]["merges"]]
    vocabulary = blank.get_vocab() | {END: blank.get_vocab_size()}
    return GPT2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)
