"""zero-shot-classification: labels chosen at call time, with a model trained on natural language inference."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, WrongTask
from ..transport.calls import Call
from ..transport.served_model import Row, ServedModel, as_filled_text
from .base import Results, TaskPipeline, texts_of
from .postprocess import softmax

#: The default `hypothesis_template`, as in transformers.
HYPOTHESIS = "This example is {}."


class ZeroShotClassification(TaskPipeline):
    """How well labels fit a text: `{"sequence": …, "labels": [best first], "scores": […]}`, a list for a list.

    `pipe(texts, candidate_labels=["travel", "cooking"])`; the labels may also be one string with commas. Options, as in
    transformers: `hypothesis_template` (default "This example is {}.") and `multi_label` (scores each label separately, by
    entailment against contradiction, instead of a softmax over the labels).
    """

    task = "zero-shot-classification"
    also = ("text-classification",)
    options = frozenset({"candidate_labels", "hypothesis_template", "multi_label"})

    def __call__(self, inputs: Any, candidate_labels: Any = None, **options: Any) -> Any:
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        return super().__call__(inputs, **options)

    def prepare(self, inputs: Any, options: ChainMap[str, Any]) -> Call:
        texts = texts_of(inputs, as_filled_text)
        labels = labels_of(options.get("candidate_labels"))
        template = options.get("hypothesis_template")
        hypotheses = filled(HYPOTHESIS if template is None else template, labels)
        alone = bool(options.get("multi_label")) or len(labels) == 1
        _entailment(self.model)

        def finish(rows: list[Row]) -> Any:
            entailment = _entailment(rows[0]["model"])
            logits = np.stack([row["logits"] for row in rows]).reshape(len(texts), len(labels), -1)
            if alone:
                contradiction = -1 if entailment == 0 else 0
                scores = softmax(logits[..., [contradiction, entailment]])[..., 1]
            else:
                scores = softmax(logits[..., entailment])
            values = [_ranked(text, labels, own) for text, own in zip(texts, scores, strict=True)]
            return values[0] if isinstance(inputs, (str, bytes)) else Results(values, rows[:: len(labels)])

        pairs = {
            "text": [text for text in texts for _ in labels],
            "text_pair": [hypothesis for _ in texts for hypothesis in hypotheses],
        }
        return Call([self.ask(pairs, ["logits"], options)], finish, one_version=True)


def _entailment(model: ServedModel) -> int:
    """The index of the label for entailment. Raises WrongTask if there is none."""
    named = [index for index, label in model.id2label.items() if label.lower().startswith("entail")]
    if not named:
        known = ", ".join(model.id2label.values())
        raise WrongTask(f"model {model.name!r} has no label for entailment (its labels: {known})")
    return named[0]


def _ranked(text: str, labels: Sequence[str], scores: NDArray[Any]) -> dict[str, Any]:
    order = list(reversed(scores.argsort()))
    return {
        "sequence": text,
        "labels": [labels[index] for index in order],
        "scores": [float(scores[index]) for index in order],
    }


def labels_of(given: Any) -> list[str]:
    """Labels as transformers accepts them: a list, or one string with commas. Raises InputError."""
    if isinstance(given, str):
        given = [label.strip() for label in given.split(",") if label.strip()]
    if given is None or not isinstance(given, Sequence) or not given:
        raise InputError("candidate_labels is a list of labels, or a string with commas; it is empty")
    return texts_of(given)


def filled(template: str, labels: Sequence[str]) -> list[str]:
    """The template, filled with each label. Raises InputError if it has no place for a label."""
    if template.format(labels[0]) == template:
        raise InputError(f"hypothesis_template {template!r} has no {{}} for the label")
    return [template.format(label) for label in labels]
