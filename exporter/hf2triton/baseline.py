"""What PyTorch answers and how fast: real texts through the checkpoint, one at a time and without padding."""

from __future__ import annotations

from importlib import resources

import numpy as np
from tokenizers import Tokenizer

from hf2triton_client.baseline import Baseline
from hf2triton_client.benchmark import measure_latency

from .artifacts import Checkpoint
from .errors import ParityError
from .repository.fronts.text import TextEncoder


def parity_texts() -> tuple[str, ...]:
    """Real texts from one token to more than 512, see data/README.md."""
    return tuple((resources.files("hf2triton") / "data" / "texts.txt").read_text(encoding="utf-8").splitlines())


def encoder_of(checkpoint: Checkpoint) -> TextEncoder:
    """The encoder that the front will use."""
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.definition)
    return TextEncoder(tokenizer, checkpoint.max_length, checkpoint.tokenizer.pad_token_id, checkpoint.family.inputs)


def record_baseline(checkpoint: Checkpoint, precision: str) -> Baseline:
    """Asks PyTorch (fp32) for each text. Raises ParityError when PyTorch itself answers with NaN or infinity."""
    import torch

    from .graph.heads import TaskModel

    texts = parity_texts()
    encoder = encoder_of(checkpoint)
    module = TaskModel(checkpoint)

    def ask(text: str) -> np.ndarray:
        tensors = [torch.from_numpy(array) for array in encoder.feeds(encoder.encode([text])).values()]
        return module(*tensors)[0].numpy()

    with torch.inference_mode():
        answers = tuple(ask(text) for text in texts)
        for text, answer in zip(texts, answers, strict=True):
            if not np.isfinite(answer).all():
                raise ParityError(
                    f"PyTorch itself answers with NaN or infinity to {text[:40]!r}: the checkpoint is broken"
                )
        latency = measure_latency(ask, texts)
    output = checkpoint.task.output
    return Baseline(
        task=checkpoint.task.name,
        precision=precision,
        texts=texts,
        answers={output: answers},
        tolerances={output: checkpoint.task.tolerances[precision]},
        latency=latency,
        about={"source": checkpoint.source.given, "torch": torch.__version__, "threads": torch.get_num_threads()},
    )
