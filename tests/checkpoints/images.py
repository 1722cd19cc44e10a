"""Models and processors of images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..support import ASSETS
from .case import Case, Equal, Refused, all_of, config, edited, weights, without

VIT, CLIP, CONFIG, PROCESSOR = "vit-fashion", "clip-fashion", "config.json", "preprocessor_config.json"
POSITIONS = "vit.embeddings.position_embeddings"
PATCHES = "vit.embeddings.patch_embeddings.projection.weight"
#: Images of many sizes, and such as have the model's own 28 x 28.
LARGE = [
    str(resources.files("hf2triton") / "data" / "images" / name)
    for name in ("astronaut.jpg", "camera.jpg", "coffee.webp", "horse.png", "rocket.jpg")
]
SMALL = [str(path) for path in sorted((ASSETS / VIT / "sample").iterdir())[:6]]
NAMED = {"candidate_labels": ["a photo of a shoe", "a bag", "an astronaut"]}


def processor(drop: tuple[str, ...] = (), **values: Any) -> Callable[[Path], None]:
    """Keys of preprocessor_config.json set, and others taken out."""
    return edited(PROCESSOR, drop, **values)


def vision(**values: Any) -> Callable[[Path], None]:
    """Keys of CLIP's vision_config set."""

    def change(folder: Path) -> None:
        path = folder / CONFIG
        content = json.loads(path.read_text("utf-8"))
        content["vision_config"] |= values
        path.write_text(json.dumps(content), "utf-8")

    return change


def columns(count: int) -> Callable[[Path], None]:
    """The table of positions cut from 7 x 7 patches to 7 rows of `count`."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        table = tensors[POSITIONS]
        grid = table[:, 1:].reshape(1, 7, 7, -1)[:, :, :count]
        tensors[POSITIONS] = np.concatenate([table[:, :1], grid.reshape(1, 7 * count, -1)], axis=1)

    return weights(change)


def narrow_patches(tensors: dict[str, np.ndarray]) -> None:
    """Patches half as wide."""
    tensors[PATCHES] = tensors[PATCHES][..., :2]


def one_channel(name: str) -> Callable[[Path], None]:
    """The three channels of the first layer added up, which for a grey image changes nothing."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = tensors[name].sum(axis=1, keepdims=True)

    return weights(change)


def of_grey(asset: str, **processor: Any) -> Callable[[Path], Callable[..., Any]]:
    """The judge of a model with one channel: the trained model with three, asked with images that were made grey."""

    def judge(folder: Path) -> Callable[..., Any]:
        import transformers
        from PIL import Image

        task = "image-classification" if asset == VIT else "zero-shot-image-classification"
        images = transformers.AutoImageProcessor.from_pretrained(ASSETS / asset, **processor)
        model = str(ASSETS / asset)
        reference = transformers.pipeline(task, model=model, image_processor=images, device="cpu", dtype="float32")
        return lambda image, **options: reference(Image.open(image).convert("L"), **options)

    return judge


def nested(folder: Path) -> None:
    """The image processor where transformers 5 writes it, inside the processor of texts and images."""
    inner = json.loads((folder / PROCESSOR).read_text("utf-8"))
    (folder / PROCESSOR).unlink()
    content = {"image_processor": inner, "processor_class": "CLIPProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(content), "utf-8")


def _vit(name: str, *changes: Callable[[Path], Any], inputs: list[str] = LARGE, **more: Any) -> Case:
    return Case(f"ViT {name}", VIT, all_of(*changes), Equal(inputs, **more))


def _clip(name: str, *changes: Callable[[Path], Any], **more: Any) -> Case:
    return Case(f"CLIP {name}", CLIP, all_of(*changes), Equal(LARGE, options=NAMED, **more))


def _refused(name: str, asset: str, change: Callable[[Path], Any], *words: str) -> Case:
    return Case(name, asset, change, Refused(words))


EQUAL = (
    _vit("that is not square", config(image_size=[28, 16]), processor(size={"height": 28, "width": 16}), columns(4)),
    _vit("with lists", config(image_size=[28, 28], patch_size=[4, 4]), processor(size=[28, 28])),
    _vit(
        "with patches that are not square",
        config(image_size=[28, 14], patch_size=[4, 2]),
        processor(size=[28, 14]),
        weights(narrow_patches),
    ),
    _vit("whose patches leave a rest", config(image_size=[31, 30]), processor(size=[31, 30])),
    _vit(
        "with a crop that is not square",
        config(image_size=[28, 16]),
        processor(size={"shortest_edge": 32}, do_center_crop=True, crop_size=[28, 16]),
        columns(4),
    ),
    _vit(
        "with both edges and a crop",
        processor(size={"shortest_edge": 28, "longest_edge": 36}, do_center_crop=True, crop_size=28),
    ),
    _vit(
        "within a height and a width, padded by the crop",
        processor(size={"max_height": 28, "max_width": 30}, do_center_crop=True, crop_size=[28, 28]),
    ),
    _vit("that does not resize", processor(do_resize=False), inputs=SMALL),
    _vit("that only crops", processor(do_resize=False, do_center_crop=True, crop_size=28)),
    _vit("with the shortest edge and no crop", processor(size={"shortest_edge": 28}), inputs=SMALL),
    _vit(
        "with a number for the shortest edge, and a crop of numbers",
        processor(size=32, default_to_square=False, do_center_crop=True, crop_size=28),
    ),
    _vit(
        "with one channel",
        config(num_channels=1),
        processor(image_mean=[0.5], image_std=[0.5]),
        one_channel(PATCHES),
        judge=of_grey(VIT),
    ),
    _vit(
        "with one channel, not square, and one mean for all",
        config(num_channels=1, image_size=[28, 28]),
        processor(image_mean=0.5, image_std=0.5, do_convert_rgb=False, size=[28, 28]),
        one_channel(PATCHES),
        judge=of_grey(VIT),
    ),
    _vit("that is not rescaled", processor(do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3)),
    _vit("that is not normalised", processor(do_normalize=False, rescale_factor=1 / 127.5)),
    _vit("that takes bytes as they are", processor(do_normalize=False, do_rescale=False)),
    _vit(
        "with steps that are null",
        processor(do_center_crop=None, do_convert_rgb=None, crop_size=None, data_format="channels_first", device=None),
    ),
    _vit(
        "of transformers 4.6",
        processor(
            ("image_processor_type", "do_rescale", "rescale_factor"),
            feature_extractor_type="ViTFeatureExtractor",
            size=28,
        ),
    ),
    _vit("whose processor has no name", processor(("image_processor_type",))),
    _vit("with another filter", processor(resample=0)),
    Case(
        "the features of a ViT that is not square",
        VIT,
        all_of(config(image_size=[28, 16]), processor(size=[28, 16]), columns(4)),
        Equal(LARGE[:2]),
        {"task": "image-feature-extraction"},
    ),
    _clip(
        "of transformers 4.0",
        processor(
            ("image_processor_type", "do_convert_rgb", "do_rescale", "rescale_factor"),
            feature_extractor_type="CLIPFeatureExtractor",
            size=32,
            crop_size=32,
        ),
    ),
    _clip("with its processor inside another", nested),
    _clip("without a crop", processor(size={"height": 32, "width": 32}, do_center_crop=False)),
    _clip("with a list for the crop", processor(size=[40, 36], crop_size=[32, 32])),
    _clip("whose patches leave a rest", vision(image_size=34), processor(size=34, crop_size=34)),
    _clip(
        "with one channel",
        vision(num_channels=1),
        processor(do_convert_rgb=False, image_mean=0.5, image_std=0.5),
        one_channel("vision_model.embeddings.patch_embedding.weight"),
        judge=of_grey(CLIP, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        atol=1e-3,  # the sum of three weights of the checkpoint is rounded to fp16
    ),
)
#: Name -> the asset, what is changed, and words of the refusal.
_REFUSED: Mapping[str, tuple[str, Callable[[Path], Any], tuple[str, ...]]] = {
    "a processor of another size": (
        VIT,
        processor(size={"height": 28, "width": 32}),
        (PROCESSOR, "size height 28, width 32", CONFIG, "image_size 28 x 28"),
    ),
    "a size that is turned": (
        VIT,
        all_of(config(image_size=[28, 16]), processor(size=[16, 28]), columns(4)),
        (PROCESSOR, "size height 16, width 28", CONFIG, "image_size 28 x 16"),
    ),
    "a shortest edge without a crop": (
        VIT,
        processor(size={"shortest_edge": 32}),
        (PROCESSOR, "size shortest_edge 32", CONFIG, "image_size 28 x 28"),
    ),
    "a crop of another size": (CLIP, processor(crop_size=30), (PROCESSOR, "crop_size height 30, width 30", "32 x 32")),
    "no image processor": (VIT, without(PROCESSOR), ("no image processor", PROCESSOR, "save_pretrained")),
    "no image processor of CLIP": (CLIP, without(PROCESSOR), ("no image processor", PROCESSOR, "save_pretrained")),
    "an image processor of others": (
        VIT,
        processor(image_processor_type="ConvNextImageProcessor"),
        (PROCESSOR, "ConvNextImageProcessor", "ViTImageProcessor, CLIPImageProcessor, DeiTImageProcessor"),
    ),
    "an image_size that is a dict": (
        VIT,
        config(image_size={"height": 28, "width": 28}),
        (CONFIG, "image_size {'height': 28, 'width': 28}", "[height, width]"),
    ),
    "a patch_size of three": (VIT, config(patch_size=[3, 4, 4]), (CONFIG, "patch_size [3, 4, 4]", "[height, width]")),
    "patches larger than the image": (VIT, config(patch_size=32), (CONFIG, "patch_size 32 x 32", "28 x 28", "patch")),
    "four channels": (VIT, config(num_channels=4), (CONFIG, "num_channels 4", "1 (greyscale)")),
    "one channel with three means": (VIT, config(num_channels=1), (PROCESSOR, "image_mean", "(1: greyscale)")),
    "one channel that is made RGB": (
        VIT,
        all_of(config(num_channels=1), processor(image_mean=0.5, image_std=0.5, do_convert_rgb=True)),
        (PROCESSOR, "do_convert_rgb", CONFIG, "num_channels 1"),
    ),
    "a list for CLIP's image_size": (CLIP, vision(image_size=[32, 32]), (CONFIG, "image_size [32, 32]", "one number")),
    "a size in words": (VIT, processor(size="28"), (PROCESSOR, "size '28'", "height and width")),
    "a size of one edge": (VIT, processor(size={"height": 28}), (PROCESSOR, "size {'height': 28}", "height and width")),
    "a size by the longest edge": (
        VIT,
        processor(size={"longest_edge": 28}),
        (PROCESSOR, "{'longest_edge': 28}", "shortest_edge and longest_edge"),
    ),
    "a crop without a size": (VIT, processor(do_center_crop=True), (PROCESSOR, "crop_size None", "height and width")),
    "padding": (VIT, processor(do_pad=True, pad_size=28), (PROCESSOR, "do_pad")),
    "a step in words": (VIT, processor(do_resize="false"), (PROCESSOR, "do_resize 'false'", "true or false")),
    "a factor that is null": (VIT, processor(rescale_factor=None), (PROCESSOR, "rescale_factor None", "a number")),
    "two means": (
        VIT,
        processor(image_mean=[0.5, 0.5]),
        (PROCESSOR, "image_mean [0.5, 0.5]", "3: red, green and blue"),
    ),
}

CASES: tuple[Case, ...] = (
    *EQUAL,
    *(_refused(name, asset, change, *words) for name, (asset, change, words) in _REFUSED.items()),
)
