"""What parity asks: real texts and images, in the form that each kind of front takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources

from .artifacts import Checkpoint
from .tasks import Part

#: Input of a front -> its value for each item; texts are strings, images are encoded files.
Inputs = Mapping[str, tuple[str | bytes, ...]]

#: Asked of each text, round and round. An answer that makes no sense has logits all the same.
QUESTIONS = ("Who is it about?", "What happened?", "Where was it, and when?", "Why?")


def parity_inputs(checkpoint: Checkpoint, part: Part) -> Inputs:
    """Real inputs for one part of a task, see data/README.md."""
    return _INPUTS[part.reader](checkpoint)


def texts() -> tuple[str, ...]:
    """Real texts from one token to more than 512."""
    return tuple((resources.files("hf2triton") / "data" / "texts.txt").read_text(encoding="utf-8").splitlines())


def images() -> tuple[bytes, ...]:
    """Real images of different size, mode and format, as files."""
    folder = resources.files("hf2triton") / "data" / "images"
    files = sorted((path for path in folder.iterdir() if path.suffix != ".md"), key=lambda path: path.name)
    return tuple(path.read_bytes() for path in files)


def _questions(checkpoint: Checkpoint) -> Inputs:
    """A question to each text; the last context is as long as three windows of the model."""
    contexts = [text for text in texts() if len(text.split()) > 3]
    long = " ".join(contexts)[: 12 * checkpoint.max_length]
    asked = [QUESTIONS[index % len(QUESTIONS)] for index in range(len(contexts) + 1)]
    return {"text": tuple(asked), "text_pair": (*contexts, long)}


def _masked(checkpoint: Checkpoint) -> Inputs:
    """Each text with its middle word masked, long ones with a second mask near the beginning."""
    mask, masked = checkpoint.tokenizer.mask_token, []
    for text in texts():
        # what is cut off cannot be masked: a word is at least one token
        words = text.split()[: checkpoint.max_length // 3]
        words[len(words) // 2] = mask
        if len(words) > 8:
            words[2] = mask
        masked.append(" ".join(words))
    return {"text": tuple(masked)}


_INPUTS: Mapping[str, Callable[[Checkpoint], Inputs]] = {
    "text": lambda checkpoint: {"text": texts()},
    "question": _questions,
    "masked-text": _masked,
    "image": lambda checkpoint: {"image": images()},
}
