"""deit-fashion, dinov2-fashion and dinov2-registers-fashion: pictures of clothes, each prepared as the originals' images are."""

from __future__ import annotations

from typing import Any

import torch
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

from .fashion import LABELS, train_classifier

#: The images are enlarged, and then cut to this size.
ENLARGED, SIZE = 32, 28
#: How long and how fast they learn.
HOW = {"steps": 500, "rate": 2e-3, "batch": 16}
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
    train_classifier(
        "deit-fashion", DeiTForImageClassificationWithTeacher(config), processor, about, loss=_both_heads, **HOW
    )


def dinov2_fashion() -> None:
    config = Dinov2Config(**_dinov2_sizes(96), num_attention_heads=4)
    about = "Tells ten kinds of clothes apart. Its 10 x 10 positions are resized to the 7 x 7 patches of its images."
    train_classifier("dinov2-fashion", Dinov2ForImageClassification(config), _dinov2_processor(), about, **HOW)


def dinov2_registers_fashion() -> None:
    config = Dinov2WithRegistersConfig(**_dinov2_sizes(64), num_attention_heads=4, use_swiglu_ffn=True)
    about = "As dinov2-fashion, with four register tokens and gated feed-forward layers (SwiGLU)."
    model = Dinov2WithRegistersForImageClassification(config)
    train_classifier("dinov2-registers-fashion", model, _dinov2_processor(), about, **HOW)


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
