"""Parity inputs: real texts and images, in the form that each kind of frontend takes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ..core.types import Checkpoint
from ..errors import UsageError
from ..tasks.base import Endpoint, Inputs, Task
from .image_settings import fits_all
from .parts import image_of, mask_token_of, max_length_of, sentences_of

#: Questions about the texts, used in turn. An answer that makes no sense still has logits.
QUESTIONS = ("Who is it about?", "What happened?", "Where was it, and when?", "Why?")


def parity_inputs(checkpoint: Checkpoint, endpoint: Endpoint) -> Inputs:
    """Real inputs for one part of a task, see data/README.md."""
    if endpoint.modality == "image":
        return {"image": images_for(image_of(checkpoint)["spec"])}
    return inputs_from(endpoint.preprocessor, checkpoint, texts())


def inputs_from(preprocessor: str, checkpoint: Checkpoint, lines: Sequence[str]) -> Inputs:
    """Inputs for one kind of frontend, made from texts."""
    return _FROM_TEXTS[preprocessor](checkpoint, lines)


def check_calibration(path: Path | None, task: Task) -> None:
    """Checks that a file or folder, if given, can calibrate a task, before minutes of work begin. Raises UsageError."""
    if path is None:
        return
    if not path.exists():
        raise UsageError(f"there is no calibration file or folder {path}")
    wanted, modalities = "image" if path.is_dir() else "text", [endpoint.modality for endpoint in task.endpoints]
    if path.suffix != ".npz" and wanted not in modalities:
        takes = " or ".join(
            {"image": "a folder of images", "text": "a file with lines of text"}[one] for one in modalities
        )
        raise UsageError(f"{path} cannot calibrate this task, which takes {takes}, or tensors as .npz")


def texts() -> tuple[str, ...]:
    """Real texts from one token to more than 512."""
    return tuple((resources.files("hf2triton") / "data" / "texts.txt").read_text(encoding="utf-8").splitlines())


def images() -> tuple[bytes, ...]:
    """Real images of different sizes, modes and formats, as files."""
    folder = resources.files("hf2triton") / "data" / "images"
    files = sorted((path for path in folder.iterdir() if not path.name.endswith(".md")), key=lambda path: path.name)
    return tuple(path.read_bytes() for path in files)


def images_for(spec: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Real images. If the processor does not resize images, they have the size that the model takes."""
    if fits_all(spec):
        return images()
    size = spec["image_size"]
    return tuple(_fitted(data, size["width"], size["height"]) for data in images())


def _fitted(data: bytes, width: int, height: int) -> bytes:
    """The middle of an image, resized, as PNG."""
    from PIL import Image, ImageOps

    file = io.BytesIO()
    ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), (width, height)).save(file, "PNG")
    return file.getvalue()


def _questions(checkpoint: Checkpoint, lines: Sequence[str]) -> Inputs:
    """A question about each text. The last context is as long as three windows of the model."""
    contexts = [text for text in lines if len(text.split()) > 3] or list(lines)
    long = " ".join(contexts)[: 12 * max_length_of(checkpoint)]
    asked = [QUESTIONS[index % len(QUESTIONS)] for index in range(len(contexts) + 1)]
    return {"text": tuple(asked), "text_pair": (*contexts, long)}


def _pairs(checkpoint: Checkpoint, lines: Sequence[str]) -> Inputs:
    """Each text as a document, for the questions in turn."""
    return {"text": tuple(islice(cycle(QUESTIONS), len(lines))), "text_pair": tuple(lines)}


def _masked(checkpoint: Checkpoint, lines: Sequence[str]) -> Inputs:
    """Each text with its middle word masked. Long texts have a second mask near the beginning."""
    mask, masked = mask_token_of(checkpoint), []
    for text in lines:
        # a mask must not be truncated: a word is at least one token
        words = text.split()[: max_length_of(checkpoint) // 3]
        words[len(words) // 2] = mask
        if len(words) > 8:
            words[2] = mask
        masked.append(" ".join(words))
    return {"text": tuple(masked)}


def _prompted(checkpoint: Checkpoint, lines: Sequence[str]) -> Inputs:
    """The texts, in turn with the default prompt and with each named prompt."""
    names = [name for name, prompt in sentences_of(checkpoint).prompts.items() if prompt]
    parameters = ["{}", *(json.dumps({"prompt_name": name}, ensure_ascii=False) for name in names)]
    return {"text": tuple(lines), "parameters": tuple(islice(cycle(parameters), len(lines)))}


_FROM_TEXTS: Mapping[str, Callable[[Checkpoint, Sequence[str]], Inputs]] = {
    "text": lambda checkpoint, lines: {"text": tuple(lines)},
    "pair": _pairs,
    "question": _questions,
    "masked-text": _masked,
    "sentence": _prompted,
    "sparse-text": _prompted,
}
