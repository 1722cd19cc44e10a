"""DeiT: ViT with a second class token, which was trained to give a teacher's answers."""

from .base import Family
from .vit import RENAMED_MODULES

FAMILY = Family(
    name="deit",
    inputs={"image": ("pixel_values",)},
    architectures={
        "DeiTForImageClassification": ("image-classification",),
        "DeiTForImageClassificationWithTeacher": ("image-classification",),
        "DeiTModel": ("image-feature-extraction",),
        "DeiTForMaskedImageModeling": ("image-feature-extraction",),
    },
    headless=("image-feature-extraction",),
    pooler="pooler.",
    heads={"image-classification": ("classifier.weight", "cls_classifier.weight")},  # alone, and beside the teacher's
    leftover=(
        r"pooler\.dense\.(weight|bias)",
        r"((cls|distillation)_)?classifier\.(weight|bias)",
        r"decoder\.0\.(weight|bias)",  # for masked images, like the mask token
        r"embeddings\.mask_token",
    ),
    image_processor="DeiTImageProcessor",
    class_tokens=lambda config: 2,
    renamed_modules=RENAMED_MODULES,
)
