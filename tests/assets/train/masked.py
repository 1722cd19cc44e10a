"""distilbert-mlm, bert-mlm and camembert-mlm: fill in a masked word of the King James Bible."""

from __future__ import annotations

import random
import re
from collections import Counter

from transformers import (
    BertForMaskedLM,
    CamembertForMaskedLM,
    DataCollatorForLanguageModeling,
    DistilBertForMaskedLM,
    PreTrainedTokenizerBase,
    pipeline,
)

from . import learning
from .families import prepare, small_config, small_tokenizer
from .sources import bible_verses

MODELS = {"bert": BertForMaskedLM, "distilbert": DistilBertForMaskedLM, "camembert": CamembertForMaskedLM}
TOP = 5
_WORD = re.compile(r"[A-Za-z]+")


def masked_rows(tokenizer: PreTrainedTokenizerBase, verses: list[str]) -> list[dict]:
    """One word of each verse behind the mask; only words that are one token, so that there is one right answer."""
    rows = []
    for verse in verses:
        words = [(word, tokenizer(word[0], add_special_tokens=False)["input_ids"]) for word in _WORD.finditer(verse)]
        words = [(word, ids) for word, ids in words if len(ids) == 1 and ids[0] != tokenizer.unk_token_id]
        if words:
            word, ids = random.choice(words)
            text = verse[: word.start()] + tokenizer.mask_token + verse[word.end() :]
            rows.append({"text": text, "token": tokenizer.decode(ids)})
    return rows


def masked_lm(family: str, steps: int = 6000) -> None:
    verses = bible_verses()
    random.shuffle(verses)
    test, training = verses[:1000], verses[1000:]
    tokenizer = small_tokenizer(family, training, lowercase=True)
    model = MODELS[family](small_config(family, len(tokenizer), initializer_range=0.05))
    prepare(model)
    rows = [{"input_ids": ids} for ids in tokenizer(training, truncation=True)["input_ids"]]
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.2)
    seconds = learning.train(model, rows, collate, steps=steps, rate=3e-3)

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
