"""mpnet-sentiment, deberta-v2-sentiment and modernbert-mlm: texts whose attention has biases or windows."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2Tokenizer,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForSequenceClassification,
    MPNetTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    pipeline,
)

from . import learning
from .sentiment import DATA, accuracy, labelled, sample_of
from .sources import bible_verses
from .wordpiece import MAX_LENGTH, SPECIAL, train_tokenizer

LABELS = ["NEGATIVE", "NEUTRAL", "POSITIVE"]
NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
#: MPNet's special tokens, in the place of BERT's first five.
MPNET_SPECIAL = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
#: DeBERTa v3's settings, with fewer buckets.
V3 = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 16,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
}
LONGEST, TOP = 256, 5


def mpnet_sentiment() -> None:
    training, test = labelled(LABELS)
    pieces = train_tokenizer([text for text, _ in training], lowercase=True).get_vocab()
    vocabulary = {token: index for index, token in enumerate(MPNET_SPECIAL)}
    vocabulary |= {token: index for token, index in pieces.items() if token not in SPECIAL}
    tokenizer = MPNetTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=MAX_LENGTH)
    config = MPNetConfig(vocab_size=len(tokenizer), max_position_embeddings=MAX_LENGTH + 2, **SIZES, **NAMES)
    model = MPNetForSequenceClassification(config)
    with torch.no_grad():  # every head starts with its own idea of near and far, so that the bias counts
        buckets = torch.arange(config.relative_attention_num_buckets) % 16
        slopes = torch.tensor([-0.4, -0.1, 0.05, 0.2])
        model.mpnet.encoder.relative_attention_bias.weight.copy_(buckets[:, None] * slopes)
    _sentiment("mpnet-sentiment", model, tokenizer, training, test, rate=2e-3)


def deberta_sentiment() -> None:
    training, test = labelled(LABELS)
    tokenizer = _unigram([text for text, _ in training], 3000)
    config = DebertaV2Config(vocab_size=len(tokenizer), max_position_embeddings=MAX_LENGTH, **SIZES, **V3, **NAMES)
    model = DebertaV2ForSequenceClassification(config)
    _sentiment("deberta-v2-sentiment", model, tokenizer, training, test, rate=2e-3)


def modernbert_mlm() -> None:
    verses = bible_verses()
    random.shuffle(verses)
    test, training = verses[:1000], verses[1000:]
    tokenizer = _byte_pairs(training, 2500)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LONGEST,
        local_attention=16,
        global_attn_every_n_layers=3,
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        initializer_range=0.05,
        **{**SIZES, "num_hidden_layers": 4, "intermediate_size": 96},
    )
    model = ModernBertForMaskedLM(config)
    rows = [{"input_ids": ids} for ids in tokenizer(training, truncation=True)["input_ids"]]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.2)
    seconds = learning.train(model, rows, collate, steps=1300, rate=4e-3)

    asked, frequent = _masked(tokenizer, test), Counter(row["token"] for row in _masked(tokenizer, training))
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=TOP)
    answers = fill([row["text"] for row in asked], tokenizer_kwargs={"truncation": True})
    right = sum(
        row["token"] in [one["token_str"].strip() for one in answer] for row, answer in zip(asked, answers, strict=True)
    )
    guessed = sum(row["token"] in dict(frequent.most_common(TOP)) for row in asked)
    learning.store(
        "modernbert-mlm",
        (model, tokenizer),
        about="Fills in a masked word of a verse. Local layers see 8 tokens to each side.",
        data="the King James Bible (1611, public domain), from the Debian packages bible-kjv and bible-kjv-text",
        score=f"top-{TOP} accuracy {right / len(asked):.3f};"
        f" the {TOP} most frequent words would give {guessed / len(asked):.3f}",
        sample=asked[: learning.SAMPLE],
        seconds=seconds,
    )


def _sentiment(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    training: list[tuple[str, int]],
    test: list[tuple[str, int]],
    rate: float,
) -> None:
    rows = [{**tokenizer(text, truncation=True), "labels": label} for text, label in training]
    seconds = learning.train(model, rows, DataCollatorWithPadding(tokenizer), steps=6 * len(rows) // 32, rate=rate)
    learning.store(
        name,
        (model, tokenizer),
        about="Sentiment of short English texts.",
        data=DATA,
        score=f"accuracy {accuracy(model, tokenizer, test):.3f}",
        sample=sample_of(test, LABELS),
        seconds=seconds,
    )


def _masked(tokenizer: PreTrainedTokenizerBase, verses: list[str]) -> list[dict[str, str]]:
    """One word of each verse behind the mask; only words that are one token, with the space before them."""
    rows, vocabulary = [], tokenizer.get_vocab()
    for verse in verses:
        words = [word for word in re.finditer(r"(?<= )[A-Za-z]+", verse) if f"Ġ{word[0]}" in vocabulary]
        if words:
            word = random.choice(words)
            text = verse[: word.start()] + tokenizer.mask_token + verse[word.end() :]
            rows.append({"text": text, "token": word[0]})
    return rows


def _unigram(texts: Sequence[str], size: int) -> DebertaV2Tokenizer:
    """DeBERTa v3's tokenizer, its pieces and their scores learnt from the texts."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    blank = DebertaV2Tokenizer().backend_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=size - 1, special_tokens=special, unk_token="[UNK]", show_progress=False
    )
    blank.train_from_iterator(texts, trainer)
    pieces = [(piece, score) for piece, score in json.loads(blank.to_str())["model"]["vocab"] if piece not in special]
    vocabulary = [*((token, 0.0) for token in special), *pieces, ("[MASK]", 0.0)]
    return DebertaV2Tokenizer(vocab=vocabulary, unk_id=3, model_max_length=MAX_LENGTH)


def _byte_pairs(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """ModernBERT's tokenizer: byte-level pairs between [CLS] and [SEP], and a mask that takes the space before it."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True, special=True)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token=AddedToken("[MASK]", lstrip=True, special=True),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=LONGEST,
    )
