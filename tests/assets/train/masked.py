"""distilbert-mlm and bert-mlm: fill in a masked word of the King James Bible."""

from __future__ import annotations

import random
import re
from collections import Counter

from transformers import (
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    DistilBertForMaskedLM,
    PreTrainedTokenizerBase,
    pipeline,
)

from . import learning
from .families import prepare, small_config
from .sources import bible_verses
from .wordpiece import train_tokenizer

MODELS = {"bert": BertForMaskedLM, "distilbert": DistilBertForMaskedLM}
TOP = 5


def masked_rows(tokenizer: PreTrainedTokenizerBase, verses: list[str]) -> list[dict]:
    """One word of each verse behind [MASK]; only words that are one token, so that there is one right answer."""
    rows, vocabulary = [], tokenizer.get_vocab()
    for verse in verses:
        words = [word for word in re.finditer(r"[A-Za-z]+", verse) if word[0].lower() in vocabulary]
        if words:
            word = random.choice(words)
            text = verse[: word.start()] + tokenizer.mask_token + verse[word.end() :]
            rows.append({"text": text, "token": word[0].lower()})
    return rows


def masked_lm(family: str) -> None:
    verses = bible_verses()
    random.shuffle(verses)
    test, training = verses[:1000], verses[1000:]
    tokenizer = train_tokenizer(training, lowercase=True, token_types=family == "bert")
    model = MODELS[family](small_config(family, len(tokenizer), initializer_range=0.05))
    prepare(model)
    rows = [{"input_ids": ids} for ids in tokenizer(training, truncation=True)["input_ids"]]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.2)
    seconds = learning.train(model, rows, collate, steps=6000, rate=3e-3)

    asked = masked_rows(tokenizer, test)
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=TOP)
    answers = fill([row["text"] for row in asked], tokenizer_kwargs={"truncation": True})
    right = sum(
        row["token"] in [one["token_str"] for one in answer] for row, answer in zip(asked, answers, strict=True)
    )
    frequent = Counter(row["token"] for row in masked_rows(tokenizer, training)).most_common(TOP)
    guessed = sum(row["token"] in dict(frequent) for row in asked)
    score = f"top-{TOP} accuracy {right / len(asked):.3f}"
    learning.store(
        f"{family}-mlm",
        (model, tokenizer),
        about="Fills in a masked word of a verse.",
        data="the King James Bible (1611, public domain), from the Debian packages bible-kjv and bible-kjv-text",
        score=f"{score}; the {TOP} most frequent words would give {guessed / len(asked):.3f}",
        sample=asked[: learning.SAMPLE],
        seconds=seconds,
    )
