"""Opens a served model as the pipeline of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from ..errors import InputError, ModelNotFound
from ..transport.connection import Connection, connect
from ..transport.runner import BlockingRunner
from ..transport.served_model import ServedModel, one_of_several
from ..transport.tls import Tls
from . import pipeline_class
from .base import TaskPipeline
from .image_feature_extraction import ImageFeatureExtraction
from .question_answering import QuestionAnswering
from .rerank import Rerank
from .sentence_similarity import SentenceSimilarity
from .sparse_embedding import SparseEmbedding
from .text_generation import TextGeneration
from .zero_shot_classification import ZeroShotClassification
from .zero_shot_image_classification import ZeroShotImageClassification


@overload
def pipeline(
    task: Literal["question-answering"], model: str = ..., url: str = ..., **options: Any
) -> QuestionAnswering: ...
@overload
def pipeline(
    task: Literal["zero-shot-classification"], model: str = ..., url: str = ..., **options: Any
) -> ZeroShotClassification: ...
@overload
def pipeline(task: Literal["rerank"], model: str = ..., url: str = ..., **options: Any) -> Rerank: ...
@overload
def pipeline(
    task: Literal["sentence-similarity"], model: str = ..., url: str = ..., **options: Any
) -> SentenceSimilarity: ...
@overload
def pipeline(
    task: Literal["sparse-embedding"], model: str = ..., url: str = ..., **options: Any
) -> SparseEmbedding: ...
@overload
def pipeline(task: Literal["text-generation"], model: str = ..., url: str = ..., **options: Any) -> TextGeneration: ...
@overload
def pipeline(
    task: Literal["image-feature-extraction"], model: str = ..., url: str = ..., **options: Any
) -> ImageFeatureExtraction: ...
@overload
def pipeline(
    task: Literal["zero-shot-image-classification"], model: str = ..., url: str = ..., **options: Any
) -> ZeroShotImageClassification: ...
@overload
def pipeline(task: str | None = ..., model: str = ..., url: str = ..., **options: Any) -> TaskPipeline: ...
def pipeline(
    task: str | None = None,
    model: str = "",
    url: str = "localhost:8001",
    *,
    connection: Connection | None = None,
    timeout: float = 60.0,
    retries: int = 3,
    headers: Mapping[str, str] | None = None,
    tls: Tls | None = None,
    **options: Any,
) -> TaskPipeline:
    """A served model as a pipeline: same call arguments and results as `transformers.pipeline(task)`.

    `task`: its name in transformers, or None for the task that the model serves. `model`: the name of the served model.
    `connection`: a connection to share; without it the pipeline opens its own, as `connect` would, and closes it at the end of
    its `with` block. `url`, `timeout`, `retries`, `headers`, `tls`: as in `connect`. `options`: defaults for each call (`top_k`,
    `aggregation_strategy`, `batch_size` …).

    The type of the pipeline follows from a literal `task`. Raises InputError, ConnectionFailed, ModelNotFound (which lists the
    models that are ready) and WrongTask.
    """
    if not model:
        raise InputError("model is the name of a served model; it is empty")
    owned = connection is None
    connection = connection or connect(url, timeout=timeout, retries=retries, headers=headers, tls=tls)
    try:
        models = _models(connection, model)
        return pipeline_class(task, models)(models, BlockingRunner(connection, owned), options)
    except BaseException:
        if owned:
            connection.close()
        raise


def _models(connection: Connection, name: str) -> dict[str, ServedModel]:
    """The frontends of an entry, by input kind."""
    config: dict[str, Any] | None
    try:
        config = connection.model_config(name)
    except ModelNotFound:
        config = connection.find_config(one_of_several(name))
        if config is None:
            raise
    frontends = ServedModel.from_config(config).frontends
    return {reads: ServedModel.from_config(connection.model_config(frontend)) for reads, frontend in frontends.items()}
