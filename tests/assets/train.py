"""Trains the small checkpoints of this folder, from data that comes with packages. Run: python tests/assets/train.py

Data
- sentiment: sentences with human ratings from -4 to 4 that the source distribution of `vaderSentiment` 3.3.2 carries
  (C. J. Hutto and E. Gilbert, VADER, ICWSM 2014; MIT licence), downloaded with pip.
- entities: sentence templates filled with names of people, places and firms from `Faker` (MIT licence); the names of the
  held-out set appear nowhere in training.

Needs torch, transformers, tokenizers, faker, and pip. Each folder gets a README.md with its held-out score.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from faker import Faker
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).parent
MAX_LENGTH = 128
ENTITY_LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
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


def sentiment_rows(folder: Path) -> list[tuple[str, float]]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
        "vaderSentiment==3.3.2",
    ]
    subprocess.run(command, cwd=folder, check=True)
    with tarfile.open(next(folder.glob("vader*3.3.2.tar.gz"))) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(fileobj=inner) as archive:
            names = ["movieReviewSnippets", "amazonReviewSnippets", "tweets"]
            files = [archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt") for name in names]
            lines = [line for file in files for line in file.read().decode("utf-8", "replace").splitlines()]
    rows = [line.split("\t") for line in lines]
    return [(row[2], float(row[1])) for row in rows if len(row) == 3 and row[2].strip()]


def entity_rows(count: int, held_out: bool) -> list[tuple[list[str], list[str]]]:
    """Words and their labels. Names whose first letters fall on one side are held out."""
    rng = random.Random(1 if held_out else 0)
    faker = Faker(["en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT"])
    faker.seed_instance(2 if held_out else 3)
    make = {"PER": faker.name, "LOC": faker.city, "ORG": faker.company}

    def name(kind: str) -> str:
        while True:
            value = make[kind]()
            if (sum(map(ord, value)) % 5 == 0) == held_out:
                return value

    rows = []
    for _ in range(count):
        words, labels = [], []
        for part in rng.choice(TEMPLATES).replace("{", "\0{").replace("}", "}\0").split("\0"):
            if part.startswith("{"):
                kind = part[1:-1]
                own = name(kind).split()
                labels += [f"B-{kind}", *[f"I-{kind}"] * (len(own) - 1)]
            else:
                own = part.split()
                labels += ["O"] * len(own)
            words += own
        rows.append((words, labels))
    return rows


def train_tokenizer(texts: list[str], size: int, lowercase: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, min_frequency=2)
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    inputs = ["input_ids", "attention_mask"]  # DistilBERT knows no token types, BERT's are 0 without them
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, model_input_names=inputs, **names
    )


#: family -> its config, what the config calls the four sizes, and its heads.
FAMILIES = {
    "bert": (
        BertConfig,
        ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
        {"sentiment": BertForSequenceClassification, "ner": BertForTokenClassification},
    ),
    "distilbert": (
        DistilBertConfig,
        ("dim", "n_layers", "n_heads", "hidden_dim"),
        {"sentiment": DistilBertForSequenceClassification, "ner": DistilBertForTokenClassification},
    ),
}
SIZES = (64, 2, 4, 128)


def new_model(family: str, head: str, vocabulary: int, labels: list[str]) -> torch.nn.Module:
    config_class, names, heads = FAMILIES[family]
    config = config_class(
        vocab_size=vocabulary,
        max_position_embeddings=MAX_LENGTH,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **dict(zip(names, SIZES, strict=True)),
    )
    return heads[head](config)


def fit(model: torch.nn.Module, batches: Callable[[], list[dict]], epochs: int, lr: float = 2e-3) -> None:
    steps = epochs * len(batches())
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for batch in batches():
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    model.eval()


def batched(rows: list, size: int, collate: Callable[[list], dict], shuffle: bool = True) -> Callable[[], list[dict]]:
    def make() -> list[dict]:
        order = random.sample(rows, len(rows)) if shuffle else rows
        order = [
            row
            for start in range(0, len(order), 50 * size)
            for row in sorted(order[start : start + 50 * size], key=len_of)
        ]
        return [collate(order[start : start + size]) for start in range(0, len(order), size)]

    return make


def len_of(row: tuple) -> int:
    return len(row[0])


def save(name: str, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, score: str, about: str) -> None:
    folder = HERE / name
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = f"# {name}\n{about} Held-out {score}. Trained by ../train.py; Apache-2.0, data under MIT.\n"
    (folder / "README.md").write_text(card)
    print(name, score)


def sentiment(family: str, labels: list[str], rows: list[tuple[str, float]]) -> None:
    def label_of(score: float) -> int | None:
        if abs(score) >= 0.8:
            return labels.index("POSITIVE" if score > 0 else "NEGATIVE")
        return labels.index("NEUTRAL") if "NEUTRAL" in labels and abs(score) < 0.4 else None

    labelled = [(text, label) for text, score in rows if (label := label_of(score)) is not None]
    random.shuffle(labelled)
    test, training = labelled[:1500], labelled[1500:]
    tokenizer = train_tokenizer([text for text, _ in training], 3000, lowercase=True)

    def collate(part: list) -> dict:
        batch = tokenizer([text for text, _ in part], padding=True, truncation=True, return_tensors="pt")
        return {**batch, "labels": torch.tensor([label for _, label in part])}

    model = new_model(family, "sentiment", len(tokenizer), labels)
    fit(model, batched(training, 32, collate), epochs=6)
    with torch.inference_mode():
        right = sum(
            int((model(**batch).logits.argmax(-1) == batch["labels"]).sum())
            for batch in batched(test, 64, collate, False)()
        )
    save(
        f"{family}-sentiment",
        model,
        tokenizer,
        f"accuracy {right / len(test):.3f}",
        "Sentiment of short English texts.",
    )


def entities(family: str) -> None:
    training, test = entity_rows(8000, False), entity_rows(800, True)
    tokenizer = train_tokenizer([" ".join(words) for words, _ in training], 3000, lowercase=False)

    def collate(part: list, scrambled: float = 0.0) -> dict:
        words = [words for words, _ in part]
        batch = tokenizer(words, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
        targets = torch.full(batch["input_ids"].shape, -100)
        for row, (_, labels) in enumerate(part):
            for position, word in enumerate(batch.word_ids(row)):
                if word is not None:
                    label = labels[word]
                    first = position == 0 or batch.word_ids(row)[position - 1] != word
                    targets[row, position] = ENTITY_LABELS.index(label if first else label.replace("B-", "I-"))
        # names become any word pieces, so that the model looks at what stands around them
        chosen = (targets > 0) & (torch.rand(targets.shape) < scrambled)
        batch["input_ids"][chosen] = torch.randint(5, len(tokenizer), (int(chosen.sum()),))
        return {**batch, "labels": targets}

    model = new_model(family, "ner", len(tokenizer), ENTITY_LABELS)
    fit(model, batched(training, 32, partial(collate, scrambled=0.5)), epochs=12, lr=1e-3)
    right = total = 0
    with torch.inference_mode():
        for batch in batched(test, 64, collate, False)():
            scored = batch["labels"] >= 0
            right += int((model(**batch).logits.argmax(-1) == batch["labels"])[scored].sum())
            total += int(scored.sum())
    save(
        f"{family}-ner",
        model,
        tokenizer,
        f"token accuracy {right / total:.3f} on unseen names",
        "People, places and firms in English texts.",
    )


def main() -> None:
    random.seed(0)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = sentiment_rows(Path(folder))
    sentiment("bert", ["NEGATIVE", "NEUTRAL", "POSITIVE"], rows)
    sentiment("distilbert", ["NEGATIVE", "POSITIVE"], rows)
    entities("bert")
    entities("distilbert")


if __name__ == "__main__":
    main()
