"""The trained GPT-2, and small ones of other sizes with its tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.core.types import Checkpoint
from hf2triton.tasks.base import Endpoint

from ..support import ASSETS

VERSES = ASSETS / "gpt2-verses"


def load(folder: Path) -> tuple[Checkpoint, Endpoint]:
    """A checkpoint and the only part of its task."""
    checkpoint = load_checkpoint(find_source(str(folder)), None)
    return checkpoint, checkpoint.task.endpoints[0]


def make_tiny(folder: Path, positions: int, vocabulary: int = 2000) -> Path:
    """A checkpoint with random weights and as few positions as nobody trains."""
    shutil.copytree(VERSES, folder, ignore=shutil.ignore_patterns("model.safetensors", "config.json"))
    torch.manual_seed(positions)
    sizes = {"n_positions": positions, "n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": vocabulary}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder
