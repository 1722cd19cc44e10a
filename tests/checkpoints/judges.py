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
#: The method of a pipeline that is compared, if it is not the call itself.
METHODS = {"sentence-similarity": "encode", "sparse-embedding": "encode", "rerank": "predict"}


def judge_of(task: str, folder: Path) -> Callable[..., Any]:
    """The reference for a checkpoint's folder, to be called with one input and the options."""
    if task == "sentence-similarity":
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(folder), device="cpu").encode
    if task == "rerank":
        from sentence_transformers import CrossEncoder

        return CrossEncoder(str(folder), device="cpu").predict
    if task == "sparse-embedding":
        from sentence_transformers import SparseEncoder

        encode = SparseEncoder(str(folder), device="cpu").encode
        return lambda one, dense=True, **options: encode(one, **options).to_dense().numpy()
    import transformers

    reference = transformers.pipeline(task, model=str(folder), device="cpu", dtype="float32")
    if task == "text-generation":
        return lambda one, **options: reference(one, **GREEDY, **options)
    return reference


def ranks(folder: Path) -> Callable[..., Any]:
    """CrossEncoder.rank, with our name for the position of a document."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu")

    def judge(one: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        ranked = model.rank(one["query"], one["documents"], **options)
        return [{"index" if name == "corpus_id" else name: value for name, value in entry.items()} for entry in ranked]

    return judge


def served(task: str, repository: Path, name: str, method: str | None = None) -> Callable[..., Any]:
    """What the entry `name` answers, called in the same way. `method`: of its pipeline, in place of the usual one."""
    if task == "text-generation":
        return _Texts(repository / name / "1")
    pipe = pipeline(task, model=name, connection=LocalConnection(repository))
    return getattr(pipe, method or METHODS.get(task, "__call__"))


class _Texts:
    def __init__(self, version: Path) -> None:
        self._model = LocalTexts(version)

    def __call__(self, text: str, **options: Any) -> list[dict[str, str]]:
        settings = json.dumps({**GREEDY, **options})
        answer = self._model({"text_input": text, "sampling_parameters": settings})
        return [{"generated_text": own} for own in answer.texts]
