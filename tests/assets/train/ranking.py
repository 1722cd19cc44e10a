"""bert-rerank: which passages does a topic of Nave's Topical Bible list?"""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import ndcg_score
from transformers import BertForSequenceClassification, DataCollatorWithPadding

from . import learning
from .families import prepare, small_config
from .sources import numbered_verses, topics
from .wordpiece import train_tokenizer

#: The most passages, verses of the Bible, of a topic.
RELEVANT = 4
#: How many passages of other topics stand beside each relevant one in training.
IRRELEVANT = 3
#: How many passages of other topics each held-out query has, and how many of these share a word with it.
OTHERS, ALIKE = 8, 3
#: How many held-out queries are scored.
HELD_OUT = 400
SETTINGS = {"sizes": (64, 2, 4, 128), "vocabulary": 3000, "steps": (250, 400), "rate": 2e-3, "batch": 64}
_LINE = re.compile(r"(?:<lb/>|<item>)(.*?)(?=<lb/>|<item>|<list>|</item>|</def>)", re.DOTALL)
#: A reference to one verse.
_REFERENCE = re.compile(r'<ref osisRef="(\w+)\.(\d+)\.(\d+)">')


@dataclass(frozen=True)
class Topic:
    """A query, such as "Wine: kept in jars", and the passages that it lists."""

    name: str
    query: str
    passages: tuple[str, ...]


def read_topics() -> list[Topic]:
    verses = numbered_verses()
    found = []
    for name, content in topics().items():
        for line in _LINE.findall(content):
            said = re.sub(r"<[^>]*>|[→\s]+", " ", line.partition("<ref")[0]).strip(" .,;:")
            said = re.sub(r"^\d+\. ", "", said)
            places = ((book, f"{chapter}:{verse}") for book, chapter, verse in _REFERENCE.findall(line))
            passages = dict.fromkeys(verses[place] for place in places if place in verses)
            title, general = name.capitalize(), said.lower().startswith("general scriptures")
            query = title if general else f"{title}: {said.capitalize() if said.isupper() else said}"
            if said and passages and not said.lower().startswith("see ") and len(query) < 120:
                found.append(Topic(name, query, tuple(passages)[:RELEVANT]))
    return found


class Others:
    """Passages of other topics: any, or those that share a long word with a query."""

    def __init__(self, topics: list[Topic]) -> None:
        self._passages = [(topic.name, passage) for topic in topics for passage in topic.passages]
        self._with: dict[str, list[int]] = {}
        for index, (_, passage) in enumerate(self._passages):
            for word in _words(passage):
                self._with.setdefault(word, []).append(index)

    def of(self, topic: Topic, count: int, alike: int) -> list[str]:
        """`count` passages that the topic does not list, of which up to `alike` share a word with it."""
        words = sorted(word for word in _words(topic.query) if word in self._with)
        chosen: dict[str, None] = {}
        for index in range(50 * count):
            near = words and index < 4 * alike and len(chosen) < alike
            place = random.choice(self._with[random.choice(words)]) if near else random.randrange(len(self._passages))
            name, passage = self._passages[place]
            if name != topic.name and passage not in topic.passages:
                chosen[passage] = None
            if len(chosen) == count:
                break
        return list(chosen)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 4}


def _whole(topic: Topic, passage: str, others: list[str]) -> list[tuple[str, str, int]]:
    """The topic's query with its passage and with others."""
    return [(topic.query, passage, 1), *((topic.query, other, 0) for other in others)]


def _keywords(topic: Topic, passage: str, others: list[str]) -> list[tuple[str, str, int]]:
    """Words of a part of the passage, with that part and with parts of others."""
    part = _part(passage)
    words = sorted(_words(part)) or part.split()
    query = " ".join(random.sample(words, min(len(words), 3)))
    return [(query, part, 1), *((query, _part(other), 0) for other in others)]


def _part(passage: str, length: int = 10) -> str:
    words = passage.split()
    start = random.randint(0, max(0, len(words) - length))
    return " ".join(words[start : start + length])


def _attend_to_equals(model: BertForSequenceClassification) -> None:
    """Starts the first layer with attention to equal tokens rather than to neighbours, and with types that tell a query's tokens
    from a passage's. Without that, training stays for thousands of steps where it knows nothing of a pair."""
    embeddings = model.bert.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.mul_(4)
        embeddings.token_type_embeddings.weight.mul_(4)
        embeddings.position_embeddings.weight.mul_(0.5)
        for name, parameter in model.bert.encoder.layer[0].named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(3)


def _loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
    """CrossEncoder's: binary cross entropy."""
    return torch.nn.functional.binary_cross_entropy_with_logits(outputs.logits[:, 0], labels.float())


def bert_rerank(**options: Any) -> None:
    """`options`: replace those of SETTINGS, to try others."""
    settings = {**SETTINGS, **options}
    found = read_topics()
    names = sorted({topic.name for topic in found})
    random.shuffle(names)
    held_out = set(names[: len(names) // 10])
    training = [topic for topic in found if topic.name not in held_out]
    test = [topic for topic in found if topic.name in held_out]
    random.shuffle(test)
    tokenizer = train_tokenizer(
        [text for topic in training for text in (topic.query, *topic.passages)], settings["vocabulary"], lowercase=True
    )
    fresh = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.05}
    config = small_config("bert", len(tokenizer), ["relevant"], settings["sizes"], **fresh)
    model = BertForSequenceClassification(config)
    prepare(model)
    _attend_to_equals(model)
    others = Others(training)
    listed = [(topic, passage) for topic in training for passage in topic.passages]
    seconds = 0.0
    # at first queries are words of short texts, so that equal words are what is learned
    for made, alike, steps in ((_keywords, 0, settings["steps"][0]), (_whole, 1, settings["steps"][1])):
        relevant = random.choices(listed, k=steps * settings["batch"] // (1 + IRRELEVANT))
        pairs = [
            pair for topic, passage in relevant for pair in made(topic, passage, others.of(topic, IRRELEVANT, alike))
        ]
        queries, texts, labels = (list(column) for column in zip(*pairs, strict=True))
        encoded = tokenizer(queries, texts, truncation=True)
        rows = [
            {**{name: encoded[name][index] for name in tokenizer.model_input_names}, "labels": label}
            for index, label in enumerate(labels)
        ]
        collate = DataCollatorWithPadding(tokenizer)
        more = {"steps": steps, "rate": settings["rate"], "batch": settings["batch"]}
        seconds += learning.train(model, rows, collate, loss=_loss, **more)

    asked = _all_asked(test[:HELD_OUT], Others(test))
    encoder = _cross_encoder(model, tokenizer)
    by_model = _ndcg(asked, lambda row: encoder.predict([(row["query"], one) for one in row["documents"]]))
    by_words = _ndcg(asked, lambda row: [len(_words(row["query"]) & _words(one)) for one in row["documents"]])
    by_chance = _ndcg(asked, lambda row: [0.0] * len(row["documents"]))
    score = f"NDCG@10 {by_model:.3f}; words in common would give {by_words:.3f}, and no order at all {by_chance:.3f}"
    print(settings, score, f"{seconds:.0f} s")
    if options:
        return
    learning.store(
        "bert-rerank",
        (encoder,),
        about="Scores passages of the Bible for a topic such as `Wine: kept in jars`."
        " A cross-encoder, as sentence-transformers 6 saves it.",
        data="topics of Nave's Topical Bible (1896) with the passages that they list, in the King James Version (1611), both"
        " in the public domain, from the Debian packages sword-dict-naves, bible-kjv and bible-kjv-text; a tenth of the topics is"
        " held out",
        score=score,
        sample=asked[: learning.SAMPLE],
        seconds=seconds,
    )


def _all_asked(topics: list[Topic], others: Others) -> list[dict[str, Any]]:
    """Each topic's passages among others, in a random order."""
    asked = []
    for topic in topics:
        documents = [*((one, 1) for one in topic.passages), *((one, 0) for one in others.of(topic, OTHERS, ALIKE))]
        random.shuffle(documents)
        texts, relevance = (list(column) for column in zip(*documents, strict=True))
        asked.append({"query": topic.query, "documents": texts, "relevance": relevance})
    return asked


def _ndcg(asked: list[dict[str, Any]], scores_of: Callable[[dict[str, Any]], Any]) -> float:
    return float(np.mean([ndcg_score([row["relevance"]], [scores_of(row)], k=10) for row in asked]))


def _cross_encoder(model: BertForSequenceClassification, tokenizer: Any) -> Any:
    from sentence_transformers import CrossEncoder

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return CrossEncoder(folder, device="cpu")
