"""What PyTorch answers and how fast: real inputs through the checkpoint, one at a time and without padding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf2triton_client.baseline import Baseline, Items
from hf2triton_client.benchmark import measure_latency
from hf2triton_client.compare import Tolerance
from hf2triton_client.places import describe_input
from hf2triton_client.questions import ANSWERS, Questions

from .artifacts import Checkpoint
from .errors import ParityError
from .own_inputs import own_inputs
from .repository.fronts.reader import Item, Reader, joined
from .repository.fronts.readers import make_reader
from .same_tokens import ReferenceTokenizer
from .samples import Inputs, parity_inputs
from .tasks import DECODED, Part
from .tokenizer import lower_cases

#: Bytes of one text that a front takes; its tokenizer would otherwise be the way to keep it busy.
MAX_TEXT_BYTES = 1 << 20
#: Bytes and pixels of one image that a front takes; a small file can hold a very large image, and each core decodes one at a
#: time, at up to 8 bytes a pixel.
MAX_IMAGE_BYTES, MAX_PIXELS = 1 << 25, 1 << 26


def reader_settings(checkpoint: Checkpoint, part: Part, round_to: int = 1) -> dict[str, Any]:
    """What the front's reader is made with, see `repository/fronts/readers.py`. Lengths are padded to multiples of
    `round_to`."""
    if part.modality == "image":
        return {
            "kind": part.reader,
            "spec": checkpoint.image["spec"],
            "tokens": checkpoint.image["tokens"],
            "max_bytes": MAX_IMAGE_BYTES,
            "max_pixels": MAX_PIXELS,
        }
    tokenizer = checkpoint.tokenizer
    settings = {
        "kind": part.reader,
        "inputs": list(checkpoint.family.inputs["text"]),
        "max_length": checkpoint.max_length,
        "max_bytes": MAX_TEXT_BYTES,
        "pad_token_id": tokenizer.pad_token_id,
        "round_to": round_to,
        "truncation_side": tokenizer.truncation_side,
        "type_ids": tokenizer.type_ids,
    }
    return settings | _MORE.get(part.reader, lambda _: {})(checkpoint)


def _question(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"cls_token_id": checkpoint.tokenizer.cls_token_id}


def _masked_text(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"mask_token": checkpoint.tokenizer.mask_token, "clean_up": checkpoint.tokenizer.clean_up}


def _sentence(checkpoint: Checkpoint) -> dict[str, Any]:
    sentences, tokenizer = checkpoint.sentences, checkpoint.tokenizer
    return {
        "prompts": dict(sentences.prompts),
        "default_prompt_name": sentences.default_prompt_name,
        "pools_prompt": sentences.pooling.include_prompt,
        "lower_case": sentences.lower_case and not lower_cases(tokenizer),
        "special_ids": list(tokenizer.special_ids),
    }


#: kind of reader -> what it needs besides.
_MORE: Mapping[str, Callable[[Checkpoint], dict[str, Any]]] = {
    "question": _question,
    "masked-text": _masked_text,
    "sentence": _sentence,
}


def preprocessing_digest(checkpoint: Checkpoint, part: Part) -> str:
    """Identifies how what callers send becomes the graph's inputs: the reader's settings and the tokenizer."""
    settings = json.dumps(reader_settings(checkpoint, part), sort_keys=True)
    definition = checkpoint.tokenizer.definition if part.modality == "text" else ""
    digest = hashlib.sha256(f"{settings}\n{definition}".encode())
    return f"sha256:{digest.hexdigest()}"


def reader_of(checkpoint: Checkpoint, part: Part) -> Reader:
    """The reader that the front will use."""
    definition = checkpoint.tokenizer.definition if part.modality == "text" else None
    return make_reader(reader_settings(checkpoint, part), definition)


def items_of(reader: Reader, inputs: Inputs) -> list[Item]:
    """Inputs as the front reads them. Raises ParityError where it cannot."""
    arrays = {name: np.array([_encoded(value) for value in values], np.object_) for name, values in inputs.items()}
    items = reader.items(reader.values(arrays), set())
    for item in items:
        if isinstance(item, ValueError):
            raise ParityError(f"the front cannot read what parity asks: {item}") from item
    return items


def record_baseline(
    checkpoint: Checkpoint, part: Part, precision: str, inputs: Inputs | None = None, asked: Questions | None = None
) -> Baseline:
    """Asks PyTorch (fp32) for each input; images are prepared by the checkpoint's own processor. And its pipeline what is
    `asked`; by default real inputs that come with hf2triton.

    Raises ParityError when PyTorch itself answers with NaN or infinity.
    """
    import torch

    from .graph.heads import TaskModel
    from .reference import answered, questions_of

    reader = reader_of(checkpoint, part)
    own: Mapping[str, Inputs] = {}
    if inputs is None:
        inputs, own = parity_inputs(checkpoint, part), own_inputs(checkpoint, part, reader)
        asked = questions_of(checkpoint, part, [inputs, *own.values()])
    module = TaskModel(checkpoint, part)
    outputs = checkpoint.outputs[part.suffix]

    def ask(item: Item) -> dict[str, np.ndarray]:
        rows: dict[str, list[np.ndarray]] = {output.name: [] for output in outputs}
        for row in item.rows:
            feeds = reader.feeds([row])
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

    read = _reader_of_the_checkpoint(checkpoint, part, reader)
    items = read(inputs)
    with torch.inference_mode():
        real = group("real inputs", inputs, items)
        groups = [group(about, more, read(more)) for about, more in own.items()]
        latency = measure_latency(ask, items)
    questions, tolerances = answered(checkpoint, asked), tolerances_of(checkpoint, part, precision)
    about: Mapping[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return Baseline(
        task=checkpoint.task.name,
        precision=precision,
        inputs=inputs,
        answers=real.answers,
        tolerances=_in_scale(checkpoint, tolerances, questions),
        latency=latency,
        about={"source": checkpoint.source.given, **about},
        questions=questions,
        own=tuple(groups),
    )


def tolerances_of(checkpoint: Checkpoint, part: Part, precision: str) -> dict[str, Tolerance]:
    """How far each output and the decoded answers may lie from PyTorch's."""
    outputs = checkpoint.outputs[part.suffix]
    return {**{output.name: output.tolerances[precision] for output in outputs}, ANSWERS: DECODED[precision]}


def _in_scale(
    checkpoint: Checkpoint, tolerances: dict[str, Tolerance], questions: Questions | None
) -> dict[str, Tolerance]:
    """Tolerances of decoded answers hold for scores of up to 1. Products and distances of embeddings are as large as these
    are: there they are shares of PyTorch's largest."""
    if questions is None or checkpoint.sentences is None or checkpoint.sentences.similarity == "cosine":
        return tolerances
    largest = max(1.0, *(abs(score) for answer in questions.answers for score in answer))
    own = tolerances[ANSWERS]
    scaled = replace(own, max_abs=own.max_abs * largest, mean_abs=own.mean_abs * largest)
    return {**tolerances, ANSWERS: scaled}


def _reader_of_the_checkpoint(checkpoint: Checkpoint, part: Part, reader: Reader) -> Callable[[Inputs], list[Item]]:
    """Makes items of inputs as transformers' own processors prepare them. That raises ParityError where the front reads a text
    otherwise."""
    if part.modality == "text":
        tokenizer = ReferenceTokenizer(checkpoint)

        def texts(inputs: Inputs) -> list[Item]:
            items = items_of(reader, inputs)
            tokenizer.require_same(inputs, [item.rows for item in items])
            return items

        return texts
    from .image_processor import reference_pixels

    folder, channels = checkpoint.source.processor_folder, checkpoint.image["spec"]["num_channels"]

    def images(inputs: Inputs) -> list[Item]:
        pixels = reference_pixels(folder, inputs["image"], channels, checkpoint.family.image_processor)
        return [Item([one]) for one in pixels]

    return images


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
