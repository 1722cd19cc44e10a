"""DINOv2: ViT without a trained pooling layer, whose positions are resized to the size of the images."""

from .base import Family

#: Those of both kinds, with registers and without. A gated layer's two halves were one module (weights_in) in transformers 4.
RENAMED_MODULES = (
    (r"\.attention\.q_proj$", ".attention.attention.query"),
    (r"\.attention\.k_proj$", ".attention.attention.key"),
    (r"\.attention\.v_proj$", ".attention.attention.value"),
    (r"\.attention\.o_proj$", ".attention.output.dense"),
    (r"\.mlp\.down_proj$", ".mlp.weights_out"),
)
#: A head of another task, and the token for masked patches.
LEFTOVER = (r"classifier\.(weight|bias)", r"embeddings\.mask_token")

FAMILY = Family(
    name="dinov2",
    inputs={"image": ("pixel_values",)},
    architectures={
        "Dinov2ForImageClassification": ("image-classification",),
        "Dinov2Model": ("image-feature-extraction",),
    },
    headless=("image-feature-extraction",),
    pooler="",
    heads={"image-classification": "classifier.weight"},
    leftover=LEFTOVER,
    image_processor="BitImageProcessor",
    resizes_positions=True,
    renamed_modules=RENAMED_MODULES,
)
