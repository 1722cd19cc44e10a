"""What PyTorch's own pipelines answer: those of `transformers.pipeline`, and for the tasks that it lacks the same by hand.

question-answering: transformers 5 dropped it, so that windows and spans are those of the frontend's code, which follows
transformers 4. sentence-similarity: cosines of the checkpoint's embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf2triton_client.errors import InputError
from hf2triton_client.evaluation.questions import Questions

from ..checkpoint.image_processor import load_processor
from ..checkpoint.preprocessing import preprocessor_of
from ..checkpoint.sample_inputs import Inputs
from ..core.types import Checkpoint
from ..tasks.base import Endpoint
from ..triton_models.preprocessor import Item, Preprocessor

#: Labels that images and texts are sorted into, where nothing says which.
LABELS = ("a person", "an animal", "a landscape", "food", "a machine")
TOPICS = ("politics", "science", "sport", "everyday life")


def open_reference(checkpoint: Checkpoint) -> Any:
    """A pipeline of PyTorch in fp32, to be called with one input at a time, as `transformers.pipeline` is."""
    return _OPEN.get(checkpoint.task.name, _transformers)(checkpoint)


def questions_of(checkpoint: Checkpoint, endpoint: Endpoint, groups: Sequence[Inputs]) -> Questions | None:
    """What a pipeline of the task can be asked with the inputs of its last frontend; None where its tensors are its answers."""
    if endpoint is not checkpoint.task.endpoints[-1] or checkpoint.task.name not in _QUESTIONS:
        return None
    return _QUESTIONS[checkpoint.task.name](groups)


def answered(checkpoint: Checkpoint, questions: Questions | None) -> Questions | None:
    """Questions with PyTorch's answers."""
    if questions is None:
        return None
    import torch

    with torch.inference_mode():
        answers = questions.ask(open_reference(checkpoint), in_flight=1)
    return replace(questions, answers=tuple(_plain(answer) for answer in answers))


def _transformers(checkpoint: Checkpoint) -> Callable[..., Any]:
    """transformers' pipeline around the checkpoint's model, which an adapter may have been merged into."""
    import transformers

    source, model = checkpoint.source, checkpoint.model
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
    pipeline = transformers.pipeline(checkpoint.task.name, model=model, device="cpu", **given)
    options = _OPTIONS.get(checkpoint.task.name, {})
    return lambda one, **own: pipeline(_readable(one), **options, **own)


#: What texts that are longer than the model takes need, so that they are cut as the frontend does it.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "text-classification": {"truncation": True},
    "fill-mask": {"tokenizer_kwargs": {"truncation": True}},
}


def _readable(one: Any) -> Any:
    """Encoded images as transformers' pipelines take them."""
    if not isinstance(one, bytes):
        return one
    import io

    from PIL import Image

    return Image.open(io.BytesIO(one))


class _Rows:
    """The model's outputs for what the frontend's reader makes of inputs."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        from ..checkpoint.task_model import TaskModel

        endpoint = checkpoint.task.endpoints[0]
        self._module = TaskModel(checkpoint, endpoint)
        self._reader: Preprocessor = preprocessor_of(checkpoint, endpoint)

    def item(self, **columns: str) -> Item:
        arrays = {name: np.array([value.encode()], np.object_) for name, value in columns.items()}
        [item] = self._reader.items(self._reader.values(arrays), set())
        if isinstance(item, ValueError):
            raise item
        return item

    def outputs(self, item: Item) -> list[np.ndarray]:
        """The first output of each row."""
        import torch

        feeds = (self._reader.feeds([row]) for row in item.rows)
        calls = ([torch.from_numpy(feed[name]) for name in self._module.inputs] for feed in feeds)
        return [self._module(*call)[0][0].numpy() for call in calls]


class _Spans(_Rows):
    """question-answering."""

    def __call__(self, one: Mapping[str, str], **options: Any) -> Any:
        import json

        item = self.item(text=one["question"], text_pair=one["context"], parameters=json.dumps(options))
        made = self._reader.answers()["answers"](item, {"span_logits": self.outputs(item)})
        answers = json.loads(made[0])
        return answers[0] if len(answers) == 1 else answers


class _Similarities(_Rows):
    """sentence-similarity."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._similarity = _SIMILARITIES[checkpoint.sentences.similarity]

    def __call__(self, one: Mapping[str, Any]) -> list[float]:
        texts = [one["source_sentence"], *one["sentences"]]
        embeddings = np.stack([self.outputs(self.item(text=text))[0] for text in texts]).astype(np.float64)
        return self._similarity(embeddings[1:], embeddings[0]).tolist()


def _cosine(ours: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ours @ other / np.linalg.norm(ours, axis=1) / np.linalg.norm(other)


#: How a checkpoint compares embeddings `[n, dim]` with one `[dim]`; of distances the negative.
_SIMILARITIES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": _cosine,
    "dot": np.matmul,
    "euclidean": lambda ours, other: -np.sqrt(np.square(ours - other).sum(axis=1)),
    "manhattan": lambda ours, other: -np.abs(ours - other).sum(axis=1),
}


class _Logprobs:
    """text-generation: how likely texts are."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model, self._limit = checkpoint.model, checkpoint.max_length
        self._reader = preprocessor_of(checkpoint, checkpoint.task.endpoints[0])

    def logprobs(self, text: str) -> list[float]:
        """The log probability of each token but the first, given those before it."""
        import torch

        [item] = self._reader.items([text], set())
        if len(item.rows[0]) < 2:
            raise InputError(
                f"{text!r} has a single token, before which there is nothing that it could be likely after"
            )
        ids = torch.tensor([item.rows[0].ids[: self._limit]])
        logits = self._model(ids).logits[0, :-1].log_softmax(dim=-1)
        return logits.gather(1, ids[0, 1:, None])[:, 0].tolist()


_OPEN: Mapping[str, Callable[[Checkpoint], Any]] = {
    "question-answering": _Spans,
    "sentence-similarity": _Similarities,
    "text-generation": _Logprobs,
}


def _texts(**options: Any) -> Callable[[Sequence[Inputs]], Questions]:
    return lambda groups: Questions(_single(groups), options)


def _about_topics(groups: Sequence[Inputs]) -> Questions:
    """transformers takes no empty text here."""
    return Questions(tuple(filter(None, _single(groups))), {"candidate_labels": list(TOPICS)})


def _texts_and_pairs(**options: Any) -> Callable[[Sequence[Inputs]], Questions]:
    """Pairs as dicts, as transformers takes them."""

    def questions(groups: Sequence[Inputs]) -> Questions:
        pairs = (inputs for inputs in groups if "text_pair" in inputs)
        dicts = (
            dict(zip(inputs, values, strict=True)) for inputs in pairs for values in zip(*inputs.values(), strict=True)
        )
        return Questions((*_single(groups), *dicts), options)

    return questions


def _images(**options: Any) -> Callable[[Sequence[Inputs]], Questions]:
    return lambda groups: Questions(groups[0]["image"], options)


def _contexts(groups: Sequence[Inputs]) -> Questions:
    pairs = (pair for inputs in groups for pair in zip(inputs["text"], inputs["text_pair"], strict=True))
    return Questions(tuple({"question": question, "context": context} for question, context in pairs))


def _sentences(groups: Sequence[Inputs]) -> Questions:
    first, *others = _single(groups)
    return Questions(({"source_sentence": first, "sentences": others},))


def _single(groups: Sequence[Inputs]) -> tuple[str, ...]:
    """The texts that are not of a pair."""
    return tuple(text for inputs in groups if "text_pair" not in inputs for text in inputs["text"])


_QUESTIONS: Mapping[str, Callable[[Sequence[Inputs]], Questions]] = {
    "text-classification": _texts_and_pairs(top_k=None),
    "zero-shot-classification": _about_topics,
    "token-classification": _texts(aggregation_strategy="simple"),
    "question-answering": _contexts,
    "fill-mask": _texts(),
    "sentence-similarity": _sentences,
    "image-classification": _images(),
    "zero-shot-image-classification": _images(candidate_labels=list(LABELS)),
}


def _plain(answer: Any) -> Any:
    """As JSON has it: numpy's and torch's numbers as Python's."""
    if isinstance(answer, Mapping):
        return {name: _plain(value) for name, value in answer.items()}
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return [_plain(value) for value in answer]
    return answer.item() if hasattr(answer, "item") else answer
