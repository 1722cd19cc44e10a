"""Who says what is right (transformers, sentence-transformers), and our side, called in the same way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf2triton.parity.local_runner import LocalTexts
from hf2triton_client import pipeline

from .local import LocalConnection

#: A greedy text of a few tokens, in transformers' words.
GREEDY = {"max_new_tokens": 12, "do_sample": False, "return_full_text": False}


def judge_of(task: str, folder: Path) -> Callable[..., Any]:
    """The reference for a checkpoint's folder, to be called with one input and the options."""
    if task == "sentence-similarity":
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu").encode
    import transformers

    reference = transformers.pipeline(task, model=str(folder), device="cpu", dtype="float32")
    if task == "text-generation":
        return lambda one, **options: reference(one, **GREEDY, **options)
    return reference


def served(task: str, repository: Path, name: str, method: str | None = None) -> Callable[..., Any]:
    """What the entry `name` answers, called in the same way. `method`: of its pipeline, in place of the usual one."""
    if task == "text-generation":
        return _Texts(repository / name / "1")
    pipe = pipeline(task, model=name, connection=LocalConnection(repository))
    return getattr(pipe, method or ("encode" if task == "sentence-similarity" else "__call__"))


class _Texts:
    def __init__(self, version: Path) -> None:
        self._model = LocalTexts(version)

    def __call__(self, text: str, **options: Any) -> list[dict[str, str]]:
        settings = json.dumps({**GREEDY, **options})
        answer = self._model({"text_input": text, "sampling_parameters": settings})
        return [{"generated_text": own} for own in answer.texts]
