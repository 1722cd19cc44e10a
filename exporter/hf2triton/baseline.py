"""What PyTorch answers and how fast: real texts through the checkpoint, one at a time and without padding."""

from __future__ import annotations

import time
from importlib import resources

import numpy as np
from tokenizers import Tokenizer

from hf2triton_client.baseline import Baseline, Latency

from .artifacts import Checkpoint
from .errors import ParityError
from .repository.fronts.text import TextEncoder

#: Calls timed for the latency; each is one text.
_TIMED_CALLS = 60


def parity_texts() -> tuple[str, ...]:
    """Real texts from one token to more than 512, see data/README.md."""
    return tuple((resources.files("hf2triton") / "data" / "texts.txt").read_text(encoding="utf-8").splitlines())


def encoder_of(checkpoint: Checkpoint) -> TextEncoder:
    """The encoder that the front will use."""
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.definition)
    return TextEncoder(
        tokenizer, checkpoint.max_length, checkpoint.tokenizer.pad_token_id, checkpoint.family.inputs
    )


def record_baseline(checkpoint: Checkpoint, precision: str) -> Baseline:
    """Asks PyTorch (fp32) for each text. Raises ParityError when PyTorch itself answers with NaN or infinity."""
    import torch

    from .graph.heads import TaskModel

    texts = parity_texts()
    encoder = encoder_of(checkpoint)
    module = TaskModel(checkpoint)
    feeds = [
        [torch.from_numpy(array) for array in encoder.feeds([row]).values()] for row in encoder.encode(texts)
    ]
    with torch.inference_mode():
        answers = tuple(module(*tensors)[0].numpy() for tensors in feeds)
        for text, answer in zip(texts, answers, strict=True):
            if not np.isfinite(answer).all():
                raise ParityError(f"PyTorch itself answers with NaN or infinity to {text[:40]!r}: the checkpoint is broken")
        milliseconds = []
        for index in range(_TIMED_CALLS):
            began = time.perf_counter()
            module(*feeds[index % len(feeds)])
            milliseconds.append((time.perf_counter() - began) * 1e3)
    output = checkpoint.task.output
    return Baseline(
        task=checkpoint.task.name,
        precision=precision,
        texts=texts,
        answers={output: answers},
        tolerances={output: checkpoint.task.tolerances[precision]},
        latency=Latency(
            float(np.percentile(milliseconds, 50)), float(np.percentile(milliseconds, 90)), len(milliseconds)
        ),
        about={"source": checkpoint.source.given, "torch": torch.__version__, "threads": torch.get_num_threads()},
    )
