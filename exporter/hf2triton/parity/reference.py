"""The answers of PyTorch's pipelines: those of `transformers.pipeline`, or our own pipelines for tasks that it lacks.

question-answering: transformers 5 dropped it, so windows and spans come from the frontend's code, which follows transformers 4.
sentence-similarity: similarities of the checkpoint's embeddings. sparse-embedding: its weights by the names of their tokens.
rerank: as sentence-transformers' CrossEncoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf2triton_client.errors import InputError
from hf2triton_client.evaluation.questions import Questions

from ..checkpoint.image_processor import load_processor
from ..checkpoint.parts import ranking_of, sentences_of
from ..checkpoint.preprocessing import item_of, preprocessor_of
from ..core.types import Checkpoint
from ..tasks.base import Endpoint, Inputs
from ..triton_models.preprocessor import Item, Preprocessor


def open_reference(checkpoint: Checkpoint) -> Any:
    """A pipeline of PyTorch in fp32; call it with one input at a time, like `transformers.pipeline`."""
    return REFERENCES[checkpoint.task.reference](checkpoint)


def questions_of(checkpoint: Checkpoint, endpoint: Endpoint, groups: Sequence[Inputs]) -> Questions | None:
    """The questions that the inputs of a task's last frontend make for its pipeline; None if the tensors are the answers."""
    ask = checkpoint.task.questions
    return ask(groups) if ask is not None and endpoint is checkpoint.task.endpoints[-1] else None


def answered(checkpoint: Checkpoint, questions: Questions | None) -> Questions | None:
    """Questions with PyTorch's answers."""
    if questions is None:
        return None
    import torch

    with torch.inference_mode():
        answers = questions.ask(open_reference(checkpoint), in_flight=1)
    return replace(questions, answers=tuple(_plain(answer) for answer in answers))


def _transformers(checkpoint: Checkpoint) -> Callable[..., Any]:
    """transformers' pipeline around the checkpoint's model, with any adapter already merged."""
    import transformers

    source = checkpoint.source
    model: Any = checkpoint.model
    make_pipeline: Callable[..., Any] = transformers.pipeline  # its overloads require a literal task name
    if checkpoint.id2label:
        model.config.id2label = dict(checkpoint.id2label)
        model.config.label2id = {label: index for index, label in checkpoint.id2label.items()}
    given: dict[str, Any] = {}
    if checkpoint.tokenizer is not None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source.tokenizer_folder, local_files_only=True, trust_remote_code=False
        )
        tokenizer.model_max_length = checkpoint.max_length
        given["tokenizer"] = tokenizer
    if checkpoint.image is not None:
        channels = checkpoint.image["spec"]["num_channels"]
        given["image_processor"] = load_processor(source.processor_folder, channels, checkpoint.family.image_processor)
    pipeline = make_pipeline(checkpoint.task.name, model=model, device="cpu", **given)
    options = checkpoint.task.reference_options
    return lambda one, **own: pipeline(_readable(one), **options, **own)


def _readable(one: Any) -> Any:
    """Decodes an encoded image for transformers' pipelines; returns other inputs unchanged."""
    if not isinstance(one, bytes):
        return one
    import io

    from PIL import Image

    return Image.open(io.BytesIO(one))


class _Rows:
    """The model's outputs for inputs read by the frontend's preprocessor."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from ..checkpoint.task_model import TaskModel

        endpoint = checkpoint.task.endpoints[0]
        self._module = TaskModel(checkpoint, endpoint)
        self._preprocessor: Preprocessor = preprocessor_of(checkpoint, endpoint)

    def item(self, **columns: str) -> Item:
        arrays = {name: np.array([value.encode()], np.object_) for name, value in columns.items()}
        [value] = self._preprocessor.values(arrays)
        return item_of(self._preprocessor, value)

    def outputs(self, item: Item) -> list[NDArray[Any]]:
        """The first output of each row."""
        import torch

        feeds = (self._preprocessor.feeds([row]) for row in item.rows)
        calls = ([torch.from_numpy(feed[name]) for name in self._module.inputs] for feed in feeds)
        return [self._module(*call)[0][0].numpy() for call in calls]


class _Spans(_Rows):
    """question-answering."""

    def __call__(self, one: Mapping[str, str], **options: Any) -> Any:
        item = self.item(text=one["question"], text_pair=one["context"], parameters=json.dumps(options))
        made = self._preprocessor.answers()["answers"](item, {"span_logits": self.outputs(item)})
        answers = json.loads(made[0])
        return answers[0] if len(answers) == 1 else answers


class _Weights(_Rows):
    """sparse-embedding."""

    def __call__(self, one: str, top_k: int | None = None, **options: Any) -> dict[str, float]:
        item = self.item(text=one, parameters=json.dumps({"max_active_dims": top_k, **options}))
        [weights] = self.outputs(item)
        names = ("token_strings", "token_weights")
        kept = self._preprocessor.reduced(item.rows[0], {"sparse_embedding": weights}, names)
        answers = self._preprocessor.answers()
        tokens, values = (answers[name](item, {key: [value] for key, value in kept.items()}) for name in names)
        return {token.decode(): float(value) for token, value in zip(tokens, values, strict=True)}


class _Similarities(_Rows):
    """sentence-similarity."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._similarity = _SIMILARITIES[sentences_of(checkpoint).similarity]

    def __call__(self, one: Mapping[str, Any]) -> list[float]:
        first, *others = (self._embedding(text) for text in (one["source_sentence"], *one["sentences"]))
        scores: list[float] = self._similarity(others, first).tolist()
        return scores

    def _embedding(self, text: str) -> NDArray[Any]:
        [embedding] = self.outputs(self.item(text=text))
        return embedding.astype(np.float64)


class _Ranking(_Rows):
    """rerank."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        import torch

        super().__init__(checkpoint)
        ranking = ranking_of(checkpoint)
        self._activation = getattr(torch.nn, ranking.activation)()
        self._prompt = ranking.prompts[ranking.default_prompt_name] if ranking.default_prompt_name else ""

    def __call__(self, one: Mapping[str, Any]) -> list[dict[str, Any]]:
        import torch

        items = (self.item(text=self._prompt + one["query"], text_pair=document) for document in one["documents"])
        logits = np.concatenate([output for item in items for output in self.outputs(item)])
        scores = self._activation(torch.from_numpy(logits)).tolist()
        found = [{"index": index, "score": score} for index, score in enumerate(scores)]
        return sorted(found, key=lambda entry: entry["score"], reverse=True)


def _cosine(others: Sequence[NDArray[Any]], other: NDArray[Any]) -> NDArray[Any]:
    ours = np.stack(others)
    cosines: NDArray[Any] = ours @ other / np.linalg.norm(ours, axis=1) / np.linalg.norm(other)
    return cosines


#: How a checkpoint compares embeddings, each `[dim]`, or `[tokens, dim]` for MaxSim, with another; distances are negated.
_SIMILARITIES: Mapping[str, Callable[[Sequence[NDArray[Any]], NDArray[Any]], NDArray[Any]]] = {
    "cosine": _cosine,
    "dot": lambda ours, other: np.stack(ours) @ other,
    "euclidean": lambda ours, other: -np.sqrt(np.square(np.stack(ours) - other).sum(axis=1)),
    "manhattan": lambda ours, other: -np.abs(np.stack(ours) - other).sum(axis=1),
    "maxsim": lambda ours, other: np.array([(other @ own.T).max(axis=1).sum() for own in ours]),
}


class _Logprobs:
    """text-generation: the log probabilities of texts."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model, self._limit = checkpoint.model, checkpoint.max_length
        self._preprocessor = preprocessor_of(checkpoint, checkpoint.task.endpoints[0])

    def logprobs(self, text: str) -> list[float]:
        """The log probability of each token except the first, given those before it."""
        import torch

        [row] = item_of(self._preprocessor, text).rows
        if len(row) < 2:
            raise InputError(
                f"{text!r} has a single token, before which there is nothing that it could be likely after"
            )
        ids = torch.tensor([row.ids[: self._limit]])
        logits = self._model(ids).logits[0, :-1].log_softmax(dim=-1)
        logprobs: list[float] = logits.gather(1, ids[0, 1:, None])[:, 0].tolist()
        return logprobs


def _plain(answer: Any) -> Any:
    """An answer in JSON types: numbers of numpy and torch become Python's."""
    if isinstance(answer, Mapping):
        return {name: _plain(value) for name, value in answer.items()}
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Sequence):
        return [_plain(value) for value in answer]
    return answer.item() if hasattr(answer, "item") else answer


#: A task's `reference` -> the function that opens it.
REFERENCES: Mapping[str, Callable[[Checkpoint], Any]] = {
    "transformers": _transformers,
    "spans": _Spans,
    "similarities": _Similarities,
    "ranking": _Ranking,
    "sparse": _Weights,
    "logprobs": _Logprobs,
}
