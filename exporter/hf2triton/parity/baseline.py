"""PyTorch's answers: runs real inputs through the checkpoint, one at a time and without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf2triton_client.evaluation.baseline import Baseline, Items
from hf2triton_client.evaluation.compare import Tolerance
from hf2triton_client.evaluation.places import describe_input
from hf2triton_client.evaluation.questions import ANSWERS, Questions
from hf2triton_client.pipelines.postprocess import BOUNDED

from ..checkpoint.own_inputs import own_inputs
from ..checkpoint.parts import image_of
from ..checkpoint.preprocessing import files_in, items_of, preprocessor_of
from ..checkpoint.same_tokens import ReferenceTokenizer
from ..checkpoint.sample_inputs import parity_inputs
from ..core.types import Checkpoint
from ..errors import ParityError
from ..tasks.base import Endpoint, Inputs
from ..tasks.common.tolerances import DECODED
from ..triton_models.preprocessor import Item, Preprocessor, joined


def record_baseline(
    checkpoint: Checkpoint,
    endpoint: Endpoint,
    precision: str,
    inputs: Inputs | None = None,
    asked: Questions | None = None,
) -> Baseline:
    """Runs PyTorch (fp32) on each input, by default on real inputs that come with hf2triton, and its pipeline on what is `asked`.
    The checkpoint's own processor prepares images.

    Raises ParityError if PyTorch itself answers with NaN or infinity.
    """
    import torch

    from ..checkpoint.task_model import TaskModel
    from .reference import answered, questions_of

    preprocessor = preprocessor_of(checkpoint, endpoint)
    own: Mapping[str, Inputs] = {}
    if inputs is None:
        inputs, own = parity_inputs(checkpoint, endpoint), own_inputs(checkpoint, endpoint, preprocessor)
        asked = questions_of(checkpoint, endpoint, [inputs, *own.values()])
    module = TaskModel(checkpoint, endpoint)
    outputs = checkpoint.outputs[endpoint.suffix]

    def ask(item: Item) -> dict[str, NDArray[Any]]:
        rows: dict[str, list[NDArray[Any]]] = {output.name: [] for output in outputs}
        for row in item.rows:
            feeds = preprocessor.feeds([row])
            for output, tensor in zip(
                outputs, module(*(torch.from_numpy(feeds[name]) for name in module.inputs)), strict=True
            ):
                rows[output.name].append(tensor[0].numpy())
        return {name: joined(arrays) for name, arrays in rows.items()}

    def group(about: str, inputs: Inputs, items: Sequence[Item]) -> Items:
        answers = [ask(item) for item in items]
        for index, answer in enumerate(answers):
            if not all(np.isfinite(array).all() for array in answer.values()):
                one = describe_input(inputs, index)
                raise ParityError(f"PyTorch itself answers with NaN or infinity to {one}: the checkpoint is broken")
        return Items(
            about, inputs, {output.name: tuple(answer[output.name] for answer in answers) for output in outputs}
        )

    read = _preprocessor_of_the_checkpoint(checkpoint, endpoint, preprocessor)
    items = read(inputs)
    with torch.inference_mode():
        real = group("real inputs", inputs, items)
        groups = [group(about, more, read(more)) for about, more in own.items()]
    questions, tolerances = answered(checkpoint, asked), tolerances_of(checkpoint, endpoint, precision)
    about: Mapping[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return Baseline(
        task=checkpoint.task.name,
        precision=precision,
        inputs=inputs,
        answers=real.answers,
        tolerances=_in_scale(checkpoint, tolerances, questions),
        about={"source": checkpoint.source.given, **about},
        questions=questions,
        own=tuple(groups),
    )


def tolerances_of(checkpoint: Checkpoint, endpoint: Endpoint, precision: str) -> dict[str, Tolerance]:
    """How far each output and the decoded answers may be from PyTorch's."""
    outputs = checkpoint.outputs[endpoint.suffix]
    return {**{output.name: output.tolerances[precision] for output in outputs}, ANSWERS: DECODED[precision]}


def _in_scale(
    checkpoint: Checkpoint, tolerances: dict[str, Tolerance], questions: Questions | None
) -> dict[str, Tolerance]:
    """Scales the tolerances of decoded answers, which apply to scores of up to 1. Products and distances of embeddings, weights
    of tokens, and logits that are the scores may be larger: for these, the tolerances are shares of PyTorch's largest score."""
    if questions is None or not _has_large_scores(checkpoint):
        return tolerances
    largest = max(1.0, *(abs(score) for answer in questions.answers for score in _scores(answer)))
    own = tolerances[ANSWERS]
    scaled = replace(own, max_abs=own.max_abs * largest, mean_abs=own.mean_abs * largest)
    return {**tolerances, ANSWERS: scaled}


def _has_large_scores(checkpoint: Checkpoint) -> bool:
    """Whether decoded scores may be larger than 1."""
    if checkpoint.ranking is not None:
        return checkpoint.ranking.activation not in BOUNDED
    return checkpoint.sentences is not None and checkpoint.sentences.similarity != "cosine"


def _scores(answer: Any) -> Iterator[float]:
    """The scores of an answer: the values of a dict, those of ranked entries, or the numbers of a list."""
    for value in answer.values() if isinstance(answer, Mapping) else answer:
        yield value["score"] if isinstance(value, Mapping) else value


def _preprocessor_of_the_checkpoint(
    checkpoint: Checkpoint, endpoint: Endpoint, preprocessor: Preprocessor
) -> Callable[[Inputs], list[Item]]:
    """A function that prepares inputs as transformers' processors do. It raises ParityError if the frontend reads a text
    differently."""
    if endpoint.modality == "text":
        tokenizer = ReferenceTokenizer(checkpoint)

        def texts(inputs: Inputs) -> list[Item]:
            items = items_of(preprocessor, inputs)
            tokenizer.require_same(inputs, [item.rows for item in items])
            return items

        return texts
    from ..checkpoint.image_processor import reference_pixels

    folder, channels = checkpoint.source.processor_folder, image_of(checkpoint)["spec"]["num_channels"]

    def images(inputs: Inputs) -> list[Item]:
        pixels = reference_pixels(folder, files_in(inputs, "image"), channels, checkpoint.family.image_processor)
        return [Item([one]) for one in pixels]

    return images
