"""What PyTorch generates from the trained checkpoint that is served."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..conftest import asset
from ..support import sample_of

CHECKPOINT = asset("gpt2", "text-generation")
#: The beginnings of held-out verses.
PROMPTS = [row["prompt"] for row in sample_of(CHECKPOINT)]
#: The most tokens of a prompt and its text together.
CONTEXT = 256


class PyTorch:
    """The trained checkpoint in transformers, fp32."""

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(CHECKPOINT).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)

    @property
    def eos(self) -> int:
        return self.model.generation_config.eos_token_id

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def generate(self, text: str, **options: Any) -> list[int]:
        """The new tokens, the best one each time."""
        import torch

        prompt = torch.tensor([self.ids(text)])
        with torch.inference_mode():
            [ids] = self.model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, pad_token_id=self.eos, **options
            )
        return ids[prompt.shape[1] :].tolist()

    def logits(self, text: str, ids: Sequence[int]) -> np.ndarray:
        """Those that each of the new tokens was chosen from, `[new, vocabulary]`."""
        import torch

        before = self.ids(text)
        with torch.inference_mode():
            return self.model(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1].numpy()


@cache
def pytorch() -> PyTorch:
    return PyTorch()


@cache
def ending() -> str:
    """A prompt whose greedy text ends by itself, within 40 tokens but not at once."""
    return next(prompt for prompt in PROMPTS if 10 < len(pytorch().generate(prompt, max_new_tokens=40)) < 40)
