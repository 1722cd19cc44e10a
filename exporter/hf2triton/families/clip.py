"""CLIP: a causal text tower and an image tower, whose embeddings are compared."""

from .base import Family

FAMILY = Family(
    name="clip",
    inputs={"text": ("input_ids", "attention_mask"), "image": ("pixel_values",)},
    architectures={"CLIPModel": ("zero-shot-image-classification",)},
    configs={"text": "text_config", "image": "vision_config"},
    towers={"text": ("text_model", "text_projection"), "image": ("vision_model", "visual_projection")},
    logit_scale="logit_scale",
    tables={
        "input_ids": ("text_model.embeddings.token_embedding.weight", "vocab_size"),
        "positions": ("text_model.embeddings.position_embedding.weight", "max_position_embeddings"),
    },
    leftover=(r"(text|vision)_model\.embeddings\.position_ids",),
    image_processor="CLIPImageProcessor",
    square_images=True,
)
