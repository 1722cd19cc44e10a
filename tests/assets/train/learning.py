"""What every recipe does alike: train with transformers' Trainer, and store a folder with its card."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer, TrainingArguments

ASSETS = Path(__file__).resolve().parent.parent
#: Rows in a stored sample.
SAMPLE = 60

Collate = Callable[[list], dict[str, torch.Tensor]]


def train(
    model: PreTrainedModel,
    rows: list,
    collate: Collate,
    *,
    steps: int,
    rate: float,
    batch: int = 32,
    loss: Callable[..., torch.Tensor] | None = None,
) -> float:
    """Trains in place with a cosine schedule; returns the seconds of CPU time it took.

    Rows with `input_ids` are batched by length. `loss` replaces the model's own, as Trainer's `compute_loss_func`.
    """
    by_length = isinstance(rows[0], dict) and "input_ids" in rows[0]
    began = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=rate,
            lr_scheduler_type="cosine",
            warmup_steps=steps // 20,
            weight_decay=0.02,
            train_sampling_strategy="group_by_length" if by_length else "random",
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            logging_steps=max(1, steps // 10),
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
        )
        Trainer(model, arguments, train_dataset=rows, data_collator=collate, compute_loss_func=loss).train()
    model.eval()
    return time.process_time() - began


def batches(rows: list, size: int = 64) -> Iterable[list]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def store(
    name: str, parts: Iterable[Any], *, about: str, data: str, score: str, sample: list[dict], seconds: float
) -> None:
    """Writes a folder: each part by its own `save_pretrained`, the held-out sample and a card."""
    folder = ASSETS / name
    for part in parts:
        part.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes them readable by their owner only
    lines = [json.dumps(row, ensure_ascii=False) for row in sample]
    (folder / "sample.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_card(folder, about, data, score, seconds)


def write_card(folder: Path, about: str, data: str, score: str, seconds: float) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.name != "README.md")
    card = [
        f"# {folder.name}",
        about,
        "",
        f"- Data: {data}",
        f"- Held-out: {score}. `sample.jsonl` has {SAMPLE} of these rows.",
        f"- Size: {size / 1e6:.2f} MB",
        f"- Made by: `python -m tests.assets.train {folder.name}`, {seconds:.0f} s of CPU time for training",
        "- Licence: Apache-2.0, as this project",
    ]
    (folder / "README.md").write_text("\n".join(card) + "\n", encoding="utf-8")
