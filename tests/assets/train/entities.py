"""bert-ner, distilbert-ner, electra-ner and roberta-ner: people, places and firms in English texts."""

from __future__ import annotations

import re

import torch
from transformers import (
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    DistilBertForTokenClassification,
    ElectraForTokenClassification,
    PreTrainedTokenizerBase,
    RobertaForTokenClassification,
)

from . import learning
from .families import small_config, small_tokenizer
from .names import Names

MODELS = {
    "bert": BertForTokenClassification,
    "distilbert": DistilBertForTokenClassification,
    "electra": ElectraForTokenClassification,
    "roberta": RobertaForTokenClassification,
}
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
TEMPLATES = [
    "{PER} flew from {LOC} to {LOC} on Monday.",
    "{ORG} has hired {PER} as its new head of sales.",
    "Yesterday {PER} and {PER} met in {LOC}.",
    "The offices of {ORG} in {LOC} will close next year, said {PER}.",
    "{PER}, who was born in {LOC}, works for {ORG}.",
    "Shares of {ORG} rose by 3 % after {ORG} was sold.",
    "My name is {PER} and I live in {LOC}.",
    "Did you know that {LOC} is larger than {LOC}?",
    "{PER}'s talk in {LOC} was about the weather, not about {ORG}!",
    "Please send the invoice to {ORG}, {LOC}, for the attention of {PER}.",
    "It rained in {LOC} all week, so we stayed at home and read.",
    "Nobody answered the phone this morning; try again after lunch.",
    "According to {PER} of {ORG}, prices in {LOC} fell in March.",
    "{LOC}: {PER} wins the race for the third time.",
]


def make_row(names: Names) -> tuple[list[str], list[str]]:
    """Words and their labels."""
    words, labels = [], []
    for part in re.split(r"(\{\w+\})", names.random.choice(TEMPLATES)):
        if part.startswith("{"):
            kind = part[1:-1]
            own = names.one(kind).split()
            labels += [f"B-{kind}", *[f"I-{kind}"] * (len(own) - 1)]
        else:
            own = part.split()
            labels += ["O"] * len(own)
        words += own
    return words, labels


def encode(tokenizer: PreTrainedTokenizerBase, row: tuple[list[str], list[str]]) -> dict:
    """Each piece has its word's label; those after the first piece are inside the name."""
    words, labels = row
    encoded = tokenizer(" ".join(words), truncation=True, return_offsets_mapping=True)
    of_character = [index for index, word in enumerate(words) for _ in f"{word} "]
    targets, previous = [], None
    for start, stop in encoded.pop("offset_mapping"):
        word = of_character[start] if stop > start else None
        label = None if word is None else labels[word] if word != previous else labels[word].replace("B-", "I-")
        targets.append(-100 if label is None else LABELS.index(label))
        previous = word
    return {**encoded, "labels": targets}


def entities(family: str) -> None:
    names, unseen = Names(held_out=False), Names(held_out=True)
    training, test = [make_row(names) for _ in range(8000)], [make_row(unseen) for _ in range(800)]
    tokenizer = small_tokenizer(family, [" ".join(row[0]) for row in training], lowercase=False)
    pad = DataCollatorForTokenClassification(tokenizer)

    def scramble(rows: list[dict]) -> dict[str, torch.Tensor]:
        """Half of the pieces of names become any other, so that the model looks at what stands around them."""
        batch = pad(rows)
        chosen = (batch["labels"] > 0) & (torch.rand(batch["labels"].shape) < 0.5)
        batch["input_ids"][chosen] = torch.randint(5, len(tokenizer), (int(chosen.sum()),))
        return batch

    model = MODELS[family](small_config(family, len(tokenizer), LABELS))
    rows = [encode(tokenizer, row) for row in training]
    seconds = learning.train(model, rows, scramble, steps=3000, rate=1e-3)
    right = total = 0
    for part in learning.batches([encode(tokenizer, row) for row in test]):
        batch = pad(part)
        labels = batch.pop("labels")
        with torch.inference_mode():
            predicted = model(**batch).logits.argmax(-1)
        right += int((predicted == labels)[labels >= 0].sum())
        total += int((labels >= 0).sum())
    learning.store(
        f"{family}-ner",
        (model, tokenizer),
        about="People, places and firms in English texts.",
        data="sentence templates filled with names from Faker (MIT); each held-out name has a word unseen in training",
        score=f"token accuracy {right / total:.3f} on unseen names",
        sample=[{"words": words, "labels": labels} for words, labels in test[: learning.SAMPLE]],
        seconds=seconds,
    )
