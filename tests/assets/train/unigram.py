"""XLM-RoBERTa's and CamemBERT's tokenizers, with a vocabulary of the recipe's own texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase

from .wordpiece import MAX_LENGTH

#: Their ids are 0 to 3 in both families' checkpoints that are in use, and the mask's is the last.
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]

Made = TypeVar("Made", bound=PreTrainedTokenizerBase)


def train_tokenizer(texts: Sequence[str], size: int = 3000, *, made: type[Made]) -> Made:
    """A SentencePiece-like Unigram tokenizer of `size` pieces that cuts at 128 tokens. It has no normalizer: transformers 5
    makes these tokenizers again from their vocabulary when they are loaded, and keeps none but a SentencePiece file's."""
    blank = Tokenizer(models.Unigram())
    blank.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=size - 1, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    blank.train_from_iterator(texts, trainer)
    pieces = json.loads(blank.to_str())["model"]["vocab"][len(SPECIAL) :]
    # threads sum in any order, so that the last digits of scores, and with them the order, differ from run to run
    pieces = sorted(((piece, round(score, 5)) for piece, score in pieces), key=lambda own: (-own[1], own[0]))
    vocabulary = [*((token, 0.0) for token in SPECIAL), *pieces, ("<mask>", 0.0)]
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return made(vocab=vocabulary, mask_token=mask, additional_special_tokens=[], model_max_length=MAX_LENGTH)
