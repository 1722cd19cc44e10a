"""DINOv2 with registers: tokens that belong to no patch, in which the model keeps what is about the whole image."""

from .base import Family
from .dinov2 import LEFTOVER, RENAMED_MODULES

FAMILY = Family(
    name="dinov2_with_registers",
    inputs={"image": ("pixel_values",)},
    architectures={
        "Dinov2WithRegistersForImageClassification": ("image-classification",),
        "Dinov2WithRegistersModel": ("image-feature-extraction",),
    },
    headless=("image-feature-extraction",),
    pooler="",
    heads={"image-classification": "classifier.weight"},
    leftover=LEFTOVER,
    image_processor="BitImageProcessor",
    class_tokens=lambda config: 1 + int(config.get("num_register_tokens", 4)),
    resizes_positions=True,
    renamed_modules=RENAMED_MODULES,
)
