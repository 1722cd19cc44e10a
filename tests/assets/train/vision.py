"""deit-fashion, dinov2-fashion and dinov2-registers-fashion: pictures of clothes, each prepared as the originals' images are."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from transformers import (
    BitImageProcessorPil,
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    DeiTImageProcessorPil,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
)

from . import learning
from .fashion import DATA, LABELS, pictures, store_pictures

#: The images are enlarged, and then cut to this size.
ENLARGED, SIZE = 32, 28
_NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}


def deit_fashion() -> None:
    config = DeiTConfig(
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        initializer_range=0.05,
        image_size=SIZE,
        patch_size=4,
        **_NAMES,
    )
    processor = DeiTImageProcessorPil(
        size={"height": ENLARGED, "width": ENLARGED}, crop_size={"height": SIZE, "width": SIZE}
    )
    about = "Tells ten kinds of clothes apart, with a second class token and head for distillation."
    _train("deit-fashion", DeiTForImageClassificationWithTeacher(config), processor, about, loss=_both_heads)


def dinov2_fashion() -> None:
    config = Dinov2Config(**_dinov2_sizes(96), num_attention_heads=4)
    about = "Tells ten kinds of clothes apart. Its 10 x 10 positions are resized to the 7 x 7 patches of its images."
    _train("dinov2-fashion", Dinov2ForImageClassification(config), _dinov2_processor(), about)


def dinov2_registers_fashion() -> None:
    config = Dinov2WithRegistersConfig(**_dinov2_sizes(64), num_attention_heads=4, use_swiglu_ffn=True)
    about = "As dinov2-fashion, with four register tokens and gated feed-forward layers (SwiGLU)."
    _train("dinov2-registers-fashion", Dinov2WithRegistersForImageClassification(config), _dinov2_processor(), about)


def _dinov2_sizes(hidden: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": 3,
        "mlp_ratio": 2,
        "initializer_range": 0.05,
        "image_size": 40,  # larger than its images, as in the originals
        "patch_size": 4,
        **_NAMES,
    }


def _dinov2_processor() -> BitImageProcessorPil:
    return BitImageProcessorPil(
        size={"shortest_edge": ENLARGED},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


def _both_heads(output: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The loss of a model whose two heads learn the same labels."""
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(output.cls_logits, labels) + cross_entropy(output.distillation_logits, labels)) / 2


def _train(name: str, model: Any, processor: Any, about: str, loss: Any = None) -> None:
    def collate(rows: list[tuple[Image.Image, int]]) -> dict:
        images, labels = zip(*rows, strict=True)
        return {**processor(list(images), return_tensors="pt"), "labels": torch.tensor(labels)}

    seconds = learning.train(model, pictures("train"), collate, steps=500, rate=2e-3, batch=16, loss=loss)
    test = pictures("t10k")
    right = 0
    for part in learning.batches(test, 250):
        batch = collate(part)
        with torch.inference_mode():
            predicted = model(pixel_values=batch["pixel_values"]).logits.argmax(-1)
        right += int((predicted == batch["labels"]).sum())
    learning.store(
        name,
        (model, processor),
        about=about,
        data=DATA,
        score=f"accuracy {right / len(test):.3f} on the test set",
        sample=store_pictures(name, test),
        seconds=seconds,
    )
