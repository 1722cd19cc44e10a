"""A checkpoint's image processor: its steps as plain data for the frontend, and the pixels that it computes from images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core.source import Source
from ..errors import SourceError
from ..families import Family
from .image_settings import ModelImages, ProcessorFile, model_images, processor_file, spec_of, spec_of_file


def read_images(source: Source, config: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """How images are prepared (`spec`), the shape of the graph's input (`shape`: channels, height, width), and how many
    `tokens` the model makes of an image. `config`: the complete image part of the model's config. Raises SourceError."""
    file = processor_file(source.processor_folder, family.image_processor)
    model = model_images(source.model_folder / "config.json", config, family, file)
    return {
        "spec": read_image_spec(source.processor_folder, model, family.image_processor),
        "shape": (model.channels, model.height, model.width),
        "tokens": model.tokens,
    }


def read_image_spec(
    folder: Path, model: ModelImages | None = None, family_processor: str | None = None
) -> dict[str, Any]:
    """What the processor in a checkpoint's folder does, as JSON for `triton_models/images.py`.

    The keys and values are those of the processor: `do_convert_rgb`; `size` ({"height", "width"}, {"shortest_edge"},
    {"shortest_edge", "longest_edge"}, or {"max_height", "max_width"}) and `resample` (a Pillow number); `crop_size` ({"height",
    "width"}); `rescale_factor`; `image_mean` and `image_std` (a float for each channel). Keys of a skipped step are None.
    `num_channels` and `image_size` ({"height", "width"}) come from `model`; without it they are 3 and None.

    Raises SourceError if there is no processor, or if the frontend cannot compute its pixels or the model cannot take them.
    """
    file = processor_file(folder, family_processor)
    spec_of_file(file, model)  # has the clearer messages
    settings = vars(_load(folder, file))
    sizes = {key: dict(settings[key]) for key in ("size", "crop_size") if settings[key] is not None}
    return spec_of(file.path, settings | sizes, model)


def load_processor(folder: Path, channels: int, family_processor: str | None = None) -> Any:
    """The checkpoint's processor with the Pillow backend; the other backends resize slightly differently.

    For a model with one channel, images are first converted to greyscale: `transformers.pipeline` passes RGB images, and the
    processor does not change channels. Raises SourceError if the processor does not load.
    """
    processor = _load(folder, processor_file(folder, family_processor))
    if channels == 1:
        prepare = processor.process_image
        processor.process_image = lambda image, **options: prepare(image.convert("L"), **options)
    return processor


def reference_pixels(
    folder: Path, images: Sequence[bytes], channels: int = 3, family_processor: str | None = None
) -> list[NDArray[Any]]:
    """The pixels that the checkpoint's processor computes from encoded images, decoded as `transformers.pipeline` does.

    Arrays `[channels, height, width]`. Raises SourceError if the processor does not load.
    """
    from PIL import Image
    from transformers.image_utils import load_image

    processor = load_processor(folder, channels, family_processor)
    loaded = (load_image(Image.open(io.BytesIO(data))) for data in images)
    return [processor(images=image, return_tensors="np")["pixel_values"][0] for image in loaded]


def _load(folder: Path, file: ProcessorFile) -> Any:
    import transformers

    try:
        return getattr(transformers, f"{file.name}Pil").from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        first_sentence = str(error).split(". ")[0]
        raise SourceError(f"the image processor in {file.path} does not load: {first_sentence}") from error
