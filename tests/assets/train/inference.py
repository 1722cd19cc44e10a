"""bert-nli: does a text entail a hypothesis? For zero-shot classification."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from transformers import BertForSequenceClassification, DataCollatorWithPadding, pipeline

from . import learning
from .families import prepare, small_config
from .sentiment import DATA
from .sources import rated_sentences
from .wordpiece import train_tokenizer

LABELS = ["contradiction", "neutral", "entailment"]
TEMPLATES = ["This example is {}.", "This text is {}.", "This is {}.", "The text that you read is {}."]
#: What a hypothesis may say of the tone, and of the kind of text.
TONES = {
    "positive": ["positive", "good", "favourable", "happy", "friendly", "praise"],
    "negative": ["negative", "bad", "unfavourable", "angry", "unfriendly", "a complaint"],
}
KINDS = {
    "movieReviewSnippets": ["about a film", "about films", "a film review", "film", "a movie review", "about cinema"],
    "amazonReviewSnippets": [
        "about a product",
        "a product review",
        "product",
        "about things people buy",
        "about shopping",
    ],
    "tweets": ["a tweet", "a short message", "tweet", "a message to friends", "about someone's day"],
}
#: What a text does not tell.
UNKNOWN = ["written on a Monday", "written by a teacher", "a translation", "known to many people"]


@dataclass(frozen=True)
class Text:
    text: str
    tone: str
    kind: str


def texts() -> tuple[list[Text], list[Text]]:
    """Training and held-out texts of a clear tone, shuffled."""
    rows = [
        Text(text, "positive" if rating > 0 else "negative", kind)
        for text, rating, kind in rated_sentences()
        if abs(rating) >= 0.8
    ]
    random.shuffle(rows)
    return rows[1500:], rows[:1500]


def pairs(row: Text, tones: Sequence[str], kinds: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(text, hypothesis, label): mostly of the tone or the kind, each saying one of those given."""

    def hypothesis(phrases: list[str]) -> str:
        return random.choice(TEMPLATES).format(random.choice(phrases))

    tone, kind = random.choice(tones), random.choice(kinds)
    yield row.text, hypothesis(TONES[tone]), "entailment" if tone == row.tone else "contradiction"
    if random.random() < 0.5:
        yield row.text, hypothesis(KINDS[kind]), "entailment" if kind == row.kind else "contradiction"
    if random.random() < 0.2:
        yield row.text, hypothesis(UNKNOWN), "neutral"


def bert_nli() -> None:
    training, test = texts()
    phrases = [*chain(*TONES.values(), *KINDS.values()), *UNKNOWN]
    hypotheses = [template.format(phrase) for template in TEMPLATES for phrase in phrases]
    tokenizer = train_tokenizer([*(row.text for row in training), *hypotheses * 3], lowercase=True)
    config = small_config("bert", len(tokenizer), LABELS)
    model = BertForSequenceClassification(config)
    prepare(model)
    # What a hypothesis says counts only together with the text. Half of each from the start would teach neither; so at
    # first all say the same, until texts are known, and then ever more of them something else.
    first, every = list(KINDS)[:1], list(KINDS)
    stages = (
        (["positive"], first, 1200),
        (["positive"] * 4 + ["negative"], first * 2 + every, 1200),
        (["positive", "negative"], every, 3500),
    )
    seconds = 0.0
    for tones, kinds, steps in stages:
        rows = [
            {**tokenizer(text, hypothesis, truncation="only_first"), "labels": LABELS.index(label)}
            for _ in range(4)
            for row in training
            for text, hypothesis, label in pairs(row, tones, kinds)
        ]
        seconds += learning.train(model, rows, DataCollatorWithPadding(tokenizer), steps=steps, rate=1e-3)

    classify = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
    tones, kinds = ["positive", "negative"], ["film", "product", "tweet"]
    kind_names = dict(zip(KINDS, kinds, strict=True))

    def accuracy(part: list[Text], labels: list[str], right: list[str]) -> float:
        answers = classify([row.text for row in part], labels)
        return sum(answer["labels"][0] == label for answer, label in zip(answers, right, strict=True)) / len(part)

    by_tone = accuracy(test[:500], tones, [row.tone for row in test[:500]])
    by_kind = accuracy(test[:500], kinds, [kind_names[row.kind] for row in test[:500]])
    sample = [{"text": row.text, "labels": tones, "label": row.tone} for row in test[:30]]
    sample += [{"text": row.text, "labels": kinds, "label": kind_names[row.kind]} for row in test[30:60]]
    learning.store(
        "bert-nli",
        (model, tokenizer),
        about="Tells whether a text entails a hypothesis such as `This example is positive.`; for zero-shot classification.",
        data=f"{DATA}; hypotheses from templates",
        score=f"zero-shot accuracy {by_tone:.3f} on {tones}, {by_kind:.3f} on {kinds}",
        sample=sample,
        seconds=seconds,
    )
