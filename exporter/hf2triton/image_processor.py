"""A checkpoint's image processor: what it does to an image, as plain data for the front, and what it makes of images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .errors import SourceError
from .source import read_json

#: The processors of transformers whose steps the front can do, whatever their backend and however old their name.
PROCESSORS = ("ViTImageProcessor", "CLIPImageProcessor", "DeiTImageProcessor")
#: Their steps, in order.
STEPS = ("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize")
#: Step -> its settings; None where the step is left out.
_SETTINGS = {
    "do_resize": ("size", "resample"),
    "do_center_crop": ("crop_size",),
    "do_rescale": ("rescale_factor",),
    "do_normalize": ("image_mean", "image_std"),
}
#: Pillow's filters, by the numbers that all its versions have for them.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
#: transformers 5 writes the first beside models with a tokenizer, and prefers it.
_NESTED, _PLAIN = "processor_config.json", "preprocessor_config.json"


def read_image_spec(folder: Path, image_size: int | None = None) -> dict[str, Any]:
    """What the processor in a checkpoint's folder does, as JSON for `repository/fronts/images.py`.

    The keys and values are the processor's own: `do_convert_rgb`; `size` ({"height", "width"} or {"shortest_edge"}) and
    `resample` (a number of Pillow's); `crop_size` ({"height", "width"}); `rescale_factor`; `image_mean` and `image_std`
    (three floats each). Those of a step that is left out are None. `image_size` ({"height", "width"}): the square that the
    model takes, None where that is not given.

    Raises SourceError where there is no processor, or one whose pixels the front could not make.
    """
    file, settings = _settings(folder)
    processor = _load(folder, file, settings)
    for key, value in vars(processor).items():
        if key.startswith("do_") and value and key not in STEPS:
            raise SourceError(
                f"{file} asks for {key}, which cannot be served; set it to false if the model does without"
            )
    spec: dict[str, Any] = {"do_convert_rgb": bool(processor.do_convert_rgb)}
    for step, keys in _SETTINGS.items():
        for key in keys:
            spec[key] = _READ[key](file, key, getattr(processor, key)) if getattr(processor, step) else None
    spec["image_size"] = {"height": image_size, "width": image_size} if image_size else None
    _check_size(file, spec)
    return spec


def reference_pixels(folder: Path, images: Sequence[bytes]) -> list[np.ndarray]:
    """What the checkpoint's own processor makes of encoded images, decoded as `transformers.pipeline` decodes them.

    Arrays `[channels, height, width]`. Raises SourceError where the processor does not load.
    """
    from PIL import Image
    from transformers.image_utils import load_image

    processor = _load(folder, *_settings(folder))
    loaded = (load_image(Image.open(io.BytesIO(data))) for data in images)
    return [processor(images=image, return_tensors="np")["pixel_values"][0] for image in loaded]


def _settings(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the processor's settings, and what it says."""
    nested, plain = folder / _NESTED, folder / _PLAIN
    if nested.exists() and "image_processor" in (settings := read_json(nested, "")):
        return nested, settings["image_processor"]
    return plain, read_json(plain, f"{folder} has no image processor ({_PLAIN} or {_NESTED}): save it beside the model")


def _load(folder: Path, file: Path, settings: dict[str, Any]) -> Any:
    """The processor, with the backend of Pillow: the others resize a little differently."""
    import transformers

    try:
        given = settings.get("image_processor_type") or settings.get("feature_extractor_type")
        if given is None:  # the model's config.json decides
            load = partial(transformers.AutoImageProcessor.from_pretrained, backend="pil", trust_remote_code=False)
        else:
            load = getattr(transformers, f"{_known(file, given)}Pil").from_pretrained
        processor = load(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        first_sentence = str(error).split(". ")[0]
        raise SourceError(f"the image processor in {file} does not load: {first_sentence}") from error
    _known(file, type(processor).__name__)
    return processor


def _known(file: Path, name: str) -> str:
    """The processor's name without its backend, as transformers 5 calls it. Raises SourceError for one not in PROCESSORS."""
    plain = name.removesuffix("Pil").removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    if plain not in PROCESSORS:
        raise SourceError(f"{file} is of a {name}; images can be prepared as {', '.join(PROCESSORS)} do")
    return plain


def _size(file: Path, key: str, value: Any) -> dict[str, int]:
    size = dict(value or {})
    known = [{"height", "width"}, {"shortest_edge"}][: 2 if key == "size" else 1]
    if set(size) not in known or not all(isinstance(edge, int) and edge > 0 for edge in size.values()):
        forms = " or ".join(" and ".join(sorted(keys)) for keys in known)
        raise SourceError(f"{file} has the {key} {size or value}; it must be {forms}, in pixels")
    return size


def _resample(file: Path, key: str, value: Any) -> int:
    if value not in RESAMPLE:
        known = ", ".join(f"{number} ({name})" for number, name in RESAMPLE.items())
        raise SourceError(f"{file} has the {key} {value!r}; it must be one of {known}")
    return int(value)


def _number(file: Path, key: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not np.isfinite(value):
        raise SourceError(f"{file} has the {key} {value!r}; it must be a number")
    return float(value)


def _per_channel(file: Path, key: str, value: Any) -> list[float]:
    """One number for all channels, or one for each."""
    values = [_number(file, key, one) for one in (value if isinstance(value, (list, tuple)) else [value] * 3)]
    if len(values) != 3 or (key == "image_std" and 0.0 in values):
        raise SourceError(f"{file} has the {key} {value!r}; it must be three numbers, for red, green and blue")
    return values


_READ = {
    "size": _size,
    "resample": _resample,
    "crop_size": _size,
    "rescale_factor": _number,
    "image_mean": _per_channel,
    "image_std": _per_channel,
}


def _check_size(file: Path, spec: dict[str, Any]) -> None:
    """Raises SourceError where every image would come out in a size that the model does not take."""
    key = "crop_size" if spec["crop_size"] else "size"
    made, wanted = spec[key], spec["image_size"]
    if made and wanted and "height" in made and made != wanted:
        raise SourceError(
            f"{file} has the {key} {made['height']} x {made['width']}; the model's config.json has the image_size"
            f" {wanted['height']}: they do not belong together"
        )
