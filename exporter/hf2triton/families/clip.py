"""CLIP: a causal text tower and an image tower, whose embeddings are compared."""

from .base import Family

CLIP = Family(
    name="clip",
    inputs={"text": ("input_ids", "attention_mask"), "image": ("pixel_values",)},
    architectures={"CLIPModel": ("zero-shot-image-classification",)},
    configs={"text": "text_config", "image": "vision_config"},
    towers={"text": ("text_model", "text_projection"), "image": ("vision_model", "visual_projection")},
    embedding="token_embedding",
    logit_scale="logit_scale",
)
