"""Byte-level BPE tokenizers of several families with a vocabulary of the recipe's own texts."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer, RobertaTokenizer

from .wordpiece import MAX_LENGTH

END = "<|endoftext|>"
#: RoBERTa's first tokens; its mask is the last.
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
#: OPT's tokens: this one begins and ends texts.
OPT_END, OPT_PADDING = "</s>", "<pad>"


def train_tokenizer(texts: Sequence[str], size: int, *, max_length: int) -> GPT2Tokenizer:
    """A byte-level BPE tokenizer of `size` tokens: every text comes back from it, whatever its script.

    The last token is `<|endoftext|>`: it begins and ends texts, and there is none for padding, as in GPT-2.
    """
    vocabulary, merges = _train(texts, size - 1)
    return GPT2Tokenizer(vocab=vocabulary | {END: size - 1}, merges=merges, model_max_length=max_length)


def train_masked_tokenizer(texts: Sequence[str], size: int = 3000) -> RobertaTokenizer:
    """A byte-level BPE tokenizer of `size` tokens that cuts at 128 tokens; its mask takes the spaces before it, as RoBERTa's."""
    vocabulary, merges = _train(texts, size - 1, SPECIAL)
    return RobertaTokenizer(
        vocab=vocabulary | {"<mask>": len(vocabulary)},
        merges=merges,
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
        model_max_length=MAX_LENGTH,
    )


def train_opt_tokenizer(texts: Sequence[str], size: int, *, max_length: int) -> GPT2Tokenizer:
    """One with OPT's special tokens, the last two: a text is encoded with `</s>` before it."""
    vocabulary, merges = _train(texts, size - 2)
    special = {"bos_token": OPT_END, "eos_token": OPT_END, "unk_token": OPT_END, "pad_token": OPT_PADDING}
    return GPT2Tokenizer(
        vocab=vocabulary | {OPT_PADDING: size - 2, OPT_END: size - 1},
        merges=merges,
        model_max_length=max_length,
        add_bos_token=True,
        **special,
    )


def _train(
    texts: Sequence[str], size: int, special: Sequence[str] = ()
) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """A vocabulary of `size` tokens, and the merges that make them."""
    blank = Tokenizer(models.BPE())
    blank.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()  # all bytes, also those that the texts have not
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    blank.train_from_iterator(texts, trainer)
    return blank.get_vocab(), [tuple(pair) for pair in json.loads(blank.to_str())["model"]["merges"]]
