"""A recorded baseline: real inputs with PyTorch's answers, in `baseline.safetensors` + `baseline.json`.

Written at export, kept with the served version, and read here on machines without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import BaselineError
from .compare import Greedy, Tolerance
from .places import describe_input
from .questions import Questions

FORMAT = 1
#: The name of the items that come with hf2triton or from the user's data.
_REAL = "real inputs"


@dataclass(frozen=True)
class Items:
    """Some items, their description, and PyTorch's answers to them.

    `inputs`: input of the frontend -> its value for each item, strings or files. `answers`: output name -> an array for each
    item, without the batch dimension (`[labels]`, `[tokens, labels]`, `[dim]` …).
    """

    about: str
    inputs: Mapping[str, tuple[str | bytes, ...]]
    answers: Mapping[str, tuple[NDArray[Any], ...]]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Baseline:
    """PyTorch's answer to each item (a text, a question with its context, an image), one at a time and without padding.

    `inputs` and `answers`: of the real inputs, as in `Items`. `own`: additional items made from the checkpoint itself, such as
    its tokens; they may have other inputs, such as the second text of a pair.
    `tolerances`: output name -> how far the served model may be from the answers. `unsaved`: large
    answers that only the export itself uses. `questions`: questions for pipelines, with PyTorch's decoded answers. `others`: the
    tolerances of other precisions in which models may be compared.
    """

    task: str
    precision: str
    inputs: Mapping[str, tuple[str | bytes, ...]]
    answers: Mapping[str, tuple[NDArray[Any], ...]]
    tolerances: Mapping[str, Tolerance]
    about: Mapping[str, Any]
    unsaved: frozenset[str] = frozenset()
    questions: Questions | None = None
    others: Mapping[str, Mapping[str, Tolerance]] = field(default_factory=dict)
    own: tuple[Items, ...] = ()

    def __len__(self) -> int:
        """The number of real inputs."""
        return len(self.groups[0])

    @property
    def groups(self) -> tuple[Items, ...]:
        """The real inputs and the checkpoint's own items."""
        return (Items(_REAL, self.inputs, self.answers), *self.own)

    @property
    def all_answers(self) -> dict[str, tuple[NDArray[Any], ...]]:
        """Output -> PyTorch's answers to the items of all groups."""
        return {output: tuple(one for group in self.groups for one in group.answers[output]) for output in self.answers}

    def describe(self, item: int) -> str:
        """An item in words. `item`: its number among the items of all groups."""
        for group in self.groups:
            if item < len(group):
                about = f"{group.about}: " if group.about != _REAL else ""
                return f"{about}{describe_input(group.inputs, item)}"
            item -= len(group)
        raise IndexError("the baseline has fewer items")

    def texts(self, name: str) -> list[str]:
        """The texts of an input."""
        return [value for value in self.inputs[name] if isinstance(value, str)]

    def joined(self) -> Baseline:
        """The same baseline with the items of all groups in one group. The groups must have the same inputs."""
        inputs = {name: tuple(one for group in self.groups for one in group.inputs[name]) for name in self.inputs}
        return replace(self, inputs=inputs, answers=self.all_answers, own=())

    def greedy(self) -> list[Greedy]:
        """The texts of a generative model."""
        columns = (self.answers[name] for name in ("token_ids", "top_ids", "top_logits"))
        return [Greedy(*arrays) for arrays in zip(*columns, strict=True)]

    def within(self, precision: str) -> Baseline:
        """The same baseline with the tolerances of another precision. Raises BaselineError if it has none."""
        if precision == self.precision:
            return self
        if precision not in self.others:
            known = ", ".join([self.precision, *self.others])
            raise BaselineError(f"the baseline is for models in {known}, and the served one is in {precision}")
        return replace(self, precision=precision, tolerances=self.others[precision])

    def save(self, path: Path) -> None:
        """Writes `path` (ending .safetensors) and the .json next to it."""
        tensors = {
            f"{prefix}{output}.{index}": np.ascontiguousarray(array)
            for prefix, group in zip(_prefixes(len(self.groups)), self.groups, strict=True)
            for output, arrays in group.answers.items()
            if output not in self.unsaved
            for index, array in enumerate(arrays)
        }
        texts = {name: list(values) for name, values in self.inputs.items() if isinstance(values[0], str)}
        for name, values in self.inputs.items():
            for index, value in enumerate(values):
                if isinstance(value, bytes):
                    tensors[f"{name}.{index}"] = np.frombuffer(value, np.uint8)
        save_file(tensors, path)
        description = {
            "format": FORMAT,
            "task": self.task,
            "precision": self.precision,
            "items": len(self),
            "texts": texts,
            "files": sorted(set(self.inputs) - set(texts)),
            "outputs": [output for output in self.answers if output not in self.unsaved],
            "own": [{"about": group.about, "items": len(group), "texts": dict(group.inputs)} for group in self.own],
            "tolerances": self._tolerances(self.tolerances),
            "other_tolerances": {name: self._tolerances(own) for name, own in self.others.items()},
            "questions": _with_places(self.questions, self.inputs.get("image", ())),
            "about": dict(self.about),
        }
        path.with_suffix(".json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n")

    def _tolerances(self, tolerances: Mapping[str, Tolerance]) -> dict[str, Any]:
        return {output: tolerance.to_json() for output, tolerance in tolerances.items() if output not in self.unsaved}

    @classmethod
    def load(cls, path: Path) -> Baseline:
        """Reads what `save` wrote. Raises BaselineError."""
        try:
            description = json.loads(path.with_suffix(".json").read_text())
            tensors = load_file(path)
        except FileNotFoundError as error:
            raise BaselineError(
                f"there is no baseline at {path}: {Path(error.filename or path).name} is missing"
            ) from None
        except (OSError, ValueError, SafetensorError) as error:
            raise BaselineError(f"the baseline at {path} cannot be read: {error}") from error
        if description.get("format") != FORMAT:
            raise BaselineError(f"{path} has format {description.get('format')}; this version reads format {FORMAT}")
        indices = range(description["items"])
        own, outputs = description.get("own", []), description["outputs"]
        try:
            answers, *answers_of_own = (
                {output: tuple(tensors[f"{prefix}{output}.{index}"] for index in range(items)) for output in outputs}
                for prefix, items in zip(
                    _prefixes(1 + len(own)), (len(indices), *(group["items"] for group in own)), strict=True
                )
            )
            files = {
                name: tuple(tensors[f"{name}.{index}"].tobytes() for index in indices) for name in description["files"]
            }
        except KeyError as error:
            raise BaselineError(f"the baseline at {path} lacks the tensor {error}") from None
        return cls(
            description["task"],
            description["precision"],
            {name: tuple(values) for name, values in description["texts"].items()} | files,
            answers,
            _read_tolerances(description["tolerances"]),
            description["about"],
            questions=_with_files(description.get("questions"), files.get("image", ())),
            others={name: _read_tolerances(one) for name, one in description.get("other_tolerances", {}).items()},
            own=tuple(
                Items(group["about"], {name: tuple(values) for name, values in group["texts"].items()}, answers)
                for group, answers in zip(own, answers_of_own, strict=True)
            ),
        )


def _prefixes(groups: int) -> list[str]:
    """The prefixes of the tensor names of each group."""
    return ["", *(f"own.{index}." for index in range(groups - 1))]


def _read_tolerances(written: Mapping[str, Mapping[str, Any]]) -> dict[str, Tolerance]:
    return {output: Tolerance(**tolerance) for output, tolerance in written.items()}


def _with_places(questions: Questions | None, files: Sequence[str | bytes]) -> dict[str, Any] | None:
    """The JSON of questions. Images are among the tensors, so each becomes its number."""
    if questions is None:
        return None
    inputs = [{"file": files.index(one)} if isinstance(one, bytes) else one for one in questions.inputs]
    return {**asdict(questions), "inputs": inputs}


def _with_files(written: Mapping[str, Any] | None, files: Sequence[bytes]) -> Questions | None:
    if written is None:
        return None
    inputs = [files[one["file"]] if isinstance(one, dict) and "file" in one else one for one in written["inputs"]]
    lists = {name: tuple(written[name]) for name in ("answers", "labels", "each")}
    return Questions(tuple(inputs), written["options"], written["method"], **lists)
