"""Suggests what to try after a failed validation, depending on what failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..evaluation.questions import ANSWERS
from ..evaluation.results import Check, Validation

#: Precision -> the next better one.
_BETTER = {"int8": "fp16", "fp16": "fp32"}


@dataclass(frozen=True)
class _Failed:
    """What failed in a validation: `alone`: the first check, of inputs one at a time; `tensors`: any check of tensors; `answers`:
    any check of decoded answers."""

    alone: bool
    tensors: bool
    answers: bool

    @classmethod
    def of(cls, validation: Validation) -> _Failed:
        tensors = [check for check in validation.checks if not _is_of_answers(check)]
        answers = [check for check in validation.checks if _is_of_answers(check)]
        return cls(
            any(check.passed is False for check in tensors[:1]),
            any(check.passed is False for check in tensors),
            any(check.passed is False for check in answers),
        )


def _is_of_answers(check: Check) -> bool:
    return any(one.output == ANSWERS for one in check.differences)


#: Condition -> what the failure means and what to do; the first match applies. {better}: a better precision, if there is one.
_ADVICE: tuple[tuple[Callable[[_Failed], bool], str], ...] = (
    (
        lambda failed: failed.alone,
        "Even inputs that are asked alone get other answers: the served model is not the recorded one, or its files were changed."
        " Look for changed files with hf2triton lint, and export the checkpoint again{better}.",
    ),
    (
        lambda failed: failed.tensors,
        "Inputs that are asked alone get the right answers, those in a batch do not. Look for changed files with"
        " hf2triton lint, and export the checkpoint again{better}.",
    ),
    (
        lambda failed: failed.answers,
        "The tensors are right, and what is made of them is not: labels, tokenizer or settings are not the recorded ones."
        " Look for changed files with hf2triton lint, or export the checkpoint again.",
    ),
    (
        lambda failed: True,
        "Tensors and answers are right, and the scores are not. Look at the labels of the data{better}.",
    ),
)


def advice_of(validation: Validation) -> str:
    """What to try next, in one line; "" if the validation did not fail."""
    if validation.passed is not False:
        return ""
    failed = _Failed.of(validation)
    better = _BETTER.get(validation.precision)
    text = next(text for fits, text in _ADVICE if fits(failed))
    return text.format(better=f", or export with --precision {better}" if better else "")
