"""ViT."""

from .base import Family

#: Those of all families that are built as this one.
RENAMED_MODULES = (
    (r"(^|\.)layers(?=\.|$)", r"\1encoder.layer"),
    (r"\.attention\.q_proj$", ".attention.attention.query"),
    (r"\.attention\.k_proj$", ".attention.attention.key"),
    (r"\.attention\.v_proj$", ".attention.attention.value"),
    (r"\.attention\.o_proj$", ".attention.output.dense"),
    (r"\.mlp\.fc1$", ".intermediate.dense"),
    (r"\.mlp\.fc2$", ".output.dense"),
)

FAMILY = Family(
    name="vit",
    inputs={"image": ("pixel_values",)},
    architectures={
        "ViTForImageClassification": ("image-classification",),
        "ViTModel": ("image-feature-extraction",),
        "ViTForMaskedImageModeling": ("image-feature-extraction",),
    },
    headless=("image-feature-extraction",),
    pooler="pooler.",
    heads={"image-classification": "classifier.weight"},
    leftover=(
        r"pooler\.dense\.(weight|bias)",
        r"classifier\.(weight|bias)",
        r"decoder\.0\.(weight|bias)",  # for masked images, like the mask token
        r"embeddings\.mask_token",
    ),
    image_processor="ViTImageProcessor",
    renamed_modules=RENAMED_MODULES,
)
