"""SigLIP: a text tower and an image tower like CLIP's, which tell for each pair alone whether both belong together."""

from .base import Family

#: The first tokenizer's own steps; the second's is Gemma's, and has a fast form.
_NORMALIZERS = (
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "Lowercase"},
    {"type": "Replace", "pattern": {"Regex": r"[!-/:-@\[-`{-~]"}, "content": ""},  # the punctuation of ASCII
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": True, "strip_right": True},
)

FAMILY = Family(
    name="siglip",
    # the text tower was trained without a mask: it attends to padding, and pools the last position
    inputs={"text": ("input_ids",), "image": ("pixel_values",)},
    architectures={
        "SiglipModel": ("zero-shot-image-classification",),
        "SiglipForImageClassification": ("image-classification",),
    },
    configs={"text": "text_config", "image": "vision_config"},
    towers={"text": ("text_model", None), "image": ("vision_model", None)},
    piece_normalizers=_NORMALIZERS,
    padded_to=64,
    logit_scale="logit_scale",
    logit_bias="logit_bias",
    label_scores="sigmoid",
    tables={
        "input_ids": ("text_model.embeddings.token_embedding.weight", "vocab_size"),
        "positions": ("text_model.embeddings.position_embedding.weight", "max_position_embeddings"),
    },
    heads={"image-classification": "classifier.weight"},
    leftover=(r"(text|vision)_model\.embeddings\.position_ids",),
    image_processor="SiglipImageProcessor",
    square_images=True,
    class_tokens=lambda config: 0,
)
