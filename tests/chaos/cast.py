"""The models that are served, and the questions that callers ask them. The same everywhere: child processes make them anew."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from ..support import ASSETS, TEXTS, sample_of

#: Greedy, so that texts are known.
GREEDY = {"do_sample": False, "max_new_tokens": 32}
GARMENTS = ["a shoe", "a pair of trousers", "a shirt"]
ENTITIES = [
    *TEXTS[3:5],
    "Please send the invoice to Parsons, Rojas and Miller, Williamsshire.",
    "Nobody is named here.",
]


@dataclass(frozen=True)
class Question:
    """`call`: asks a pipeline, of either kind; the result, or an awaitable. `kind`: "call", "generation" or "stream"."""

    name: str
    model: str
    kind: str
    call: Callable[[Any], Any]


@dataclass(frozen=True)
class Entry:
    """What a repository serves under one name. `frontends`: what each reads -> its model in Triton."""

    name: str
    task: str
    frontends: Mapping[str, str]


def entries(repository: Path) -> dict[str, Entry]:
    """Task -> the first entry that serves it."""
    found: dict[str, Entry] = {}
    for path in sorted(repository.glob("*/config.pbtxt")):
        config = text_format.Parse(path.read_text(), pb.ModelConfig())
        if "hf2triton" not in config.parameters or not any(path.parent.glob("[0-9]*")):
            continue
        settings = json.loads(config.parameters["hf2triton"].string_value)
        frontends = settings.get("fronts", {"": config.name})
        name = config.name if len(frontends) == 1 else config.name.rpartition("_")[0]
        found.setdefault(settings["task"], Entry(name, settings["task"], frontends))
    return {task: entry for task, entry in found.items() if task in _ASKED}


@functools.cache
def picture(index: int) -> bytes:
    """A small picture of something to wear."""
    return (ASSETS / "vit-fashion" / "sample" / f"{index:02}.png").read_bytes()


def _texts(name: str, model: str) -> Iterator[Question]:
    for index, texts in enumerate([TEXTS[:1], TEXTS[1:4], TEXTS[4:7], [*TEXTS[:7]] * 12]):
        yield Question(f"{name}/{index}", model, "call", lambda pipe, own=texts: pipe(own, top_k=None))


def _entities(name: str, model: str) -> Iterator[Question]:
    for index, texts in enumerate([ENTITIES[:1], ENTITIES[2:], ENTITIES]):
        yield Question(f"{name}/{index}", model, "call", lambda pipe, own=texts: pipe(own))


def _contexts(name: str, model: str) -> Iterator[Question]:
    rows = [{key: row[key] for key in ("question", "context")} for row in sample_of(ASSETS / "bert-qa")[:6]]
    for index in range(0, len(rows), 2):
        yield Question(f"{name}/{index}", model, "call", lambda pipe, own=rows[index : index + 2]: pipe(own))


def _masks(name: str, model: str) -> Iterator[Question]:
    texts = ["The [MASK] is very good .", "They went to the [MASK] ."]
    yield Question(f"{name}/0", model, "call", lambda pipe: pipe(texts, top_k=1))


def _pictures(name: str, model: str) -> Iterator[Question]:
    for index, numbers in enumerate([[0], [1, 2, 3], list(range(4, 16))]):
        images = [picture(number) for number in numbers]
        yield Question(f"{name}/{index}", model, "call", lambda pipe, own=images: pipe(own))


def _captions(name: str, model: str) -> Iterator[Question]:
    for index, numbers in enumerate([[0], [2, 5]]):
        images = [picture(number) for number in numbers]
        yield Question(f"{name}/{index}", model, "call", lambda pipe, own=images: pipe(own, candidate_labels=GARMENTS))


def _prompts(name: str, model: str) -> Iterator[Question]:
    prompts = [row["prompt"] for row in sample_of(ASSETS / "gpt2-verses")[:4]]
    for index, prompt in enumerate(prompts):
        yield Question(f"{name}/{index}", model, "generation", lambda pipe, own=prompt: pipe(own, **GREEDY))
    for index, prompt in enumerate(prompts):
        yield Question(
            f"{name} in pieces/{index}", model, "stream", lambda pipe, own=prompt: pipe.stream(own, **GREEDY)
        )


_ASKED: Mapping[str, Callable[[str, str], Iterator[Question]]] = {
    "text-classification": _texts,
    "token-classification": _entities,
    "question-answering": _contexts,
    "fill-mask": _masks,
    "image-classification": _pictures,
    "zero-shot-image-classification": _captions,
    "text-generation": _prompts,
}


def questions(served: Mapping[str, Entry]) -> list[Question]:
    """All of them, for all entries."""
    return [one for task, entry in served.items() for one in _ASKED[task](entry.name, entry.name)]


def answers_of(result: Any) -> list[tuple[Any, int]]:
    """Each value of a pipeline's result, as JSON has it, with the version that gave it."""
    return [(plain(value), entry.model_version) for value, entry in zip(result, result.metadata, strict=True)]


def plain(value: Any) -> Any:
    """With Python's own numbers in the place of numpy's."""
    return json.loads(json.dumps(value, default=float))
