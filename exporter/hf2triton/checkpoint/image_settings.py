"""What a checkpoint's JSON files say about images: the processor's settings, and the pixels that the model takes.

Needs neither torch nor transformers: files that do not belong together are found before these are imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, isqrt
from pathlib import Path
from typing import Any

from ..core.json_files import read_json
from ..errors import SourceError
from ..families import Family
from ..families.common.processors import PROCESSORS
from ..triton_models.image_sizes import resized

#: Defaults of all processors.
_COMMON: Mapping[str, Any] = {
    "do_convert_rgb": False,
    "do_resize": True,
    "default_to_square": True,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": (0.5, 0.5, 0.5),
    "image_std": (0.5, 0.5, 0.5),
}
#: Step -> its settings, in order; they are None if the step is skipped.
_STEPS: Mapping[str, tuple[str, ...]] = {
    "do_convert_rgb": (),
    "do_resize": ("size", "resample"),
    "do_center_crop": ("crop_size",),
    "do_rescale": ("rescale_factor",),
    "do_normalize": ("image_mean", "image_std"),
}
#: The keys of the supported sizes.
_SIZES = (("height", "width"), ("shortest_edge",), ("shortest_edge", "longest_edge"), ("max_height", "max_width"))
#: Pillow's filters by number, the same in all of its versions.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: Channels of a model -> the colours of its images.
CHANNELS = {1: "greyscale", 3: "red, green and blue"}
#: transformers 5 writes the first beside models with a tokenizer, and prefers it.
_NESTED, _PLAIN = "processor_config.json", "preprocessor_config.json"
#: Defaults that all configs of images share.
_MODEL = {"image_size": 224, "num_channels": 3}


@dataclass(frozen=True)
class ModelImages:
    """The images that a model takes: `channels`, `height` and `width` in pixels, from the config.json at `path`. `tokens`: how
    many it makes of an image, including class tokens and registers; None if config.json has no patch size."""

    path: Path
    channels: int
    height: int
    width: int
    tokens: int | None = None


@dataclass(frozen=True)
class ProcessorFile:
    """The file with a processor's settings (`path`), its content (`settings`), and the processor's `name` in PROCESSORS."""

    path: Path
    settings: Mapping[str, Any]
    name: str


def check_images(folder: Path, config: Mapping[str, Any], family: Family, processor: Path | None = None) -> None:
    """Checks that a folder's processor can be served and returns what the model takes. `config`: the content of config.json.
    `processor`: the folder with the processor, if it is another one.

    Raises SourceError, which names the files, the keys and the sizes at fault.
    """
    part = family.configs.get("image")
    # the `_dict` key is an old spelling, which transformers prefers
    images = config if part is None else config.get(f"{part}_dict") or config.get(part) or {}
    file = processor_file(processor or folder, family.image_processor)
    spec_of_file(file, model_images(folder / "config.json", images, family, file))


def model_images(
    path: Path, config: Mapping[str, Any], family: Family, file: ProcessorFile | None = None
) -> ModelImages:
    """What the image part of a model's config says about pixels. A model that resizes its positions takes what the processor in
    `file` makes, if that always has one size. Raises SourceError for what transformers cannot compute."""
    config = {**_MODEL, **config}
    channels = config["num_channels"]
    if channels not in CHANNELS:
        known = " or ".join(f"{number} ({name})" for number, name in CHANNELS.items())
        raise SourceError(f"{path} has the num_channels {channels!r}; images can be prepared with {known}")
    trained = _edges(path, "image_size", config["image_size"], family)
    prepared = _prepared(file) if family.resizes_positions and file else None
    height, width = prepared or trained
    if "patch_size" not in config:
        return ModelImages(path, channels, height, width)
    patch = _edges(path, "patch_size", config["patch_size"], family)
    if family.resizes_positions:
        _require_square(path, trained, patch, family)
    # transformers drops incomplete patches at the far edges
    patches = (height // patch[0]) * (width // patch[1])
    if not patches:
        size = "the image_size" if prepared is None or file is None else f"the prepared image in {file.path},"
        raise SourceError(
            f"{path} has the patch_size {_by(*patch)}, and {size} {_by(height, width)} holds not one patch"
        )
    return ModelImages(path, channels, height, width, patches + family.class_tokens(config))


def _prepared(file: ProcessorFile) -> tuple[int, int] | None:
    """Height and width of all images that a processor makes; None if they differ. Raises SourceError."""
    settings = _complete(file)
    key = "crop_size" if settings["do_center_crop"] else "size"
    if key == "size" and not settings["do_resize"]:
        return None
    size = _size(file.path, key, settings[key], 0)
    return (size["height"], size["width"]) if "height" in size else None


def _require_square(path: Path, size: tuple[int, int], patch: tuple[int, int], family: Family) -> None:
    """Raises SourceError if the positions cannot be resized: transformers takes them for a square."""
    grid = size[0] // patch[0], size[1] // patch[1]
    if isqrt(grid[0] * grid[1]) ** 2 != grid[0] * grid[1] or 0 in grid:
        raise SourceError(
            f"{path} has the image_size {_by(*size)} and the patch_size {_by(*patch)}: {_by(*grid)} positions, which"
            f" {family.name} models cannot resize, as they are not a square"
        )


def processor_file(folder: Path, family_processor: str | None = None) -> ProcessorFile:
    """The processor's settings in a checkpoint's folder. If they name no processor, it is the family's. Raises SourceError."""
    path, settings = _settings(folder)
    given = settings.get("image_processor_type") or settings.get("feature_extractor_type") or family_processor
    if given is None:
        raise SourceError(
            f"{path} does not say of which kind the image processor is: give image_processor_type, {_known()}"
        )
    name = str(given).removesuffix("Pil").removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    if name not in PROCESSORS:
        raise SourceError(f"{path} is of a {given}; images can be prepared as {_known()} do")
    return ProcessorFile(path, settings, name)


def spec_of_file(file: ProcessorFile, model: ModelImages | None) -> dict[str, Any]:
    """The spec of a processor's file, see `image_processor.read_image_spec`. Raises SourceError."""
    return spec_of(file.path, _complete(file), model)


def _complete(file: ProcessorFile) -> dict[str, Any]:
    """The settings of a processor, defaults included."""
    settings = {**_COMMON, **PROCESSORS[file.name], **file.settings}
    if isinstance(settings["size"], int) and not settings["default_to_square"]:
        settings["size"] = {"shortest_edge": settings["size"]}
    return settings


def spec_of(path: Path, settings: Mapping[str, Any], model: ModelImages | None) -> dict[str, Any]:
    """The spec of complete settings, which `path` holds or implies. Raises SourceError if it cannot be served."""
    for key, value in settings.items():
        if not key.startswith("do_"):
            continue
        if value not in (True, False, None):
            raise SourceError(f"{path} has the {key} {value!r}; it must be true or false")
        if value and key not in _STEPS:
            raise SourceError(
                f"{path} asks for {key}, which cannot be served; set it to false if the model does without"
            )
    channels = model.channels if model else 3
    spec: dict[str, Any] = {"num_channels": channels, "do_convert_rgb": bool(settings["do_convert_rgb"])}
    for step, keys in _STEPS.items():
        for key in keys:
            spec[key] = _READ[key](path, key, settings.get(key), channels) if settings[step] else None
    spec["image_size"] = {"height": model.height, "width": model.width} if model else None
    if model:
        _require_fit(path, spec, model)
    return spec


def fits_all(spec: Mapping[str, Any]) -> bool:
    """Whether the processor brings images of any size to the size that the model takes."""
    return bool(spec["crop_size"] or "height" in (spec["size"] or {}))


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the processor's settings, and its content."""
    nested, plain = folder / _NESTED, folder / _PLAIN
    if nested.exists():
        content = read_json(nested, "")
        if isinstance(content, dict) and content.get("image_processor") is not None:
            return nested, _object(nested, content["image_processor"])
    missing = (
        f"{folder} has no image processor ({_PLAIN} or {_NESTED}): save the one that the model was trained with into this"
        " folder, with its save_pretrained"
    )
    return plain, _object(plain, read_json(plain, missing))


def _object(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SourceError(f"{path} does not hold a JSON object with the settings of an image processor")
    return content


def _known() -> str:
    return ", ".join(PROCESSORS)


def _edges(path: Path, key: str, value: Any, family: Family) -> tuple[int, int]:
    """Height and width of a model's key."""
    if family.square_images:
        forms, edges = f"one number of pixels, as {family.name} models take square images alone", (value, value)
    else:
        forms = "a number of pixels or [height, width]"
        edges = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(edges) != 2 or not all(_is_pixels(edge) for edge in edges):
        raise SourceError(f"{path} has the {key} {value!r}; it must be {forms}")
    return edges


def _is_pixels(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _size(path: Path, key: str, value: Any, channels: int) -> dict[str, int]:
    """A size as transformers reads it: a number means a square, a list means height and width."""
    size = (value, value) if isinstance(value, int) else value
    if isinstance(size, (list, tuple)) and len(size) == 2:
        size = dict(zip(("height", "width"), size, strict=True))
    known = _SIZES if key == "size" else _SIZES[:1]
    if isinstance(size, Mapping) and set(size) in [set(keys) for keys in known] and all(map(_is_pixels, size.values())):
        return dict(size)
    forms = ", or ".join(" and ".join(keys) for keys in known)
    raise SourceError(f"{path} has the {key} {value!r}; it must be {forms}, in pixels")


def _resample(path: Path, key: str, value: Any, channels: int) -> int:
    if not isinstance(value, int) or value not in RESAMPLE:
        known = ", ".join(f"{number} ({name})" for number, name in RESAMPLE.items())
        raise SourceError(f"{path} has the {key} {value!r}; it must be one of {known}")
    return int(value)


def _factor(path: Path, key: str, value: Any, channels: int) -> float:
    return _number(path, key, value)


def _number(path: Path, key: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not isfinite(value):
        raise SourceError(f"{path} has the {key} {value!r}; it must be a number")
    return float(value)


def _per_channel(path: Path, key: str, value: Any, channels: int) -> list[float]:
    """One number for all channels, or one for each."""
    given = value if isinstance(value, (list, tuple)) else [value] * channels
    values = [_number(path, key, one) for one in given]
    if len(values) != channels or (key == "image_std" and 0.0 in values):
        wanted = f"one number, or one for each of the model's channels ({channels}: {CHANNELS[channels]})"
        raise SourceError(
            f"{path} has the {key} {value!r}; it must be {wanted}{', none of them 0' if key == 'image_std' else ''}"
        )
    return values


_READ: Mapping[str, Callable[[Path, str, Any, int], Any]] = {
    "size": _size,
    "resample": _resample,
    "crop_size": _size,
    "rescale_factor": _factor,
    "image_mean": _per_channel,
    "image_std": _per_channel,
}


def _require_fit(path: Path, spec: Mapping[str, Any], model: ModelImages) -> None:
    """Raises SourceError if no image can come out in the model's size. The check: an image of that size must keep its size."""
    if spec["do_convert_rgb"] and model.channels != 3:
        raise SourceError(
            f"{path} asks for do_convert_rgb, which makes three channels; {model.path} has the num_channels"
            f" {model.channels}: set do_convert_rgb to false, or they do not belong together"
        )
    key = "crop_size" if spec["crop_size"] else "size"
    made = resized(spec[key], model.width, model.height) if spec[key] else (model.width, model.height)
    if made != (model.width, model.height):
        described = ", ".join(f"{name} {edge}" for name, edge in spec[key].items())
        raise SourceError(
            f"{path} has the {key} {described}; {model.path} has the image_size {_by(model.height, model.width)} (height x"
            " width), and no image would come out so: they do not belong together"
        )


def _by(height: int, width: int) -> str:
    return f"{height} x {width}"
