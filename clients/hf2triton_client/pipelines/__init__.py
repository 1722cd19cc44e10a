"""The task pipelines, one file per task."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError, WrongTask
from ..transport.served_model import ServedModel
from .base import Metadata, Results, TaskPipeline
from .feature_extraction import FeatureExtraction
from .fill_mask import FillMask
from .image_classification import ImageClassification
from .image_feature_extraction import ImageFeatureExtraction
from .question_answering import QuestionAnswering
from .rerank import Rerank
from .sentence_similarity import SentenceSimilarity
from .sparse_embedding import SparseEmbedding
from .text_classification import TextClassification
from .text_generation import GeneratedTexts, TextGeneration
from .token_classification import TokenClassification
from .zero_shot_classification import ZeroShotClassification
from .zero_shot_image_classification import ZeroShotImageClassification

PIPELINES: tuple[type[TaskPipeline], ...] = (
    FeatureExtraction,
    FillMask,
    ImageClassification,
    ImageFeatureExtraction,
    QuestionAnswering,
    Rerank,
    SentenceSimilarity,
    SparseEmbedding,
    TextClassification,
    TextGeneration,
    TokenClassification,
    ZeroShotClassification,
    ZeroShotImageClassification,
)
BY_NAME = {name: cls for cls in PIPELINES for name in (cls.task, *cls.aliases)}

__all__ = ["BY_NAME", "PIPELINES", "GeneratedTexts", "Metadata", "Results", "TaskPipeline", "pipeline_class"]


def pipeline_class(task: str | None, models: Mapping[str, ServedModel]) -> type[TaskPipeline]:
    """The pipeline for a task (None: the one the model serves). Raises InputError and WrongTask."""
    if task is not None and task not in BY_NAME:
        raise InputError(f"task {task!r} is unknown; known are {', '.join(sorted(BY_NAME))}")
    model = next(iter(models.values()))
    cls = BY_NAME[task if task is not None else model.task]
    if model.task not in (cls.task, *cls.also):
        raise WrongTask(f"model {model.name!r} serves {model.task}, not {task}")
    return cls
