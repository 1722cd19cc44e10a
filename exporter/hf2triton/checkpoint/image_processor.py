"""A checkpoint's image processor: its steps as plain data for the frontend, and the pixels that it makes of images."""

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
    """How images are prepared (`spec`), the shape of the graph's input (`shape`: channels, height, width), and the `tokens`
    that the model makes of one. `config`: the image part of the model's config, complete. Raises SourceError."""
    model = model_images(source.model_folder / "config.json", config, family)
    return {
        "spec": read_image_spec(source.processor_folder, model, family.image_processor),
        "shape": (model.channels, model.height, model.width),
        "tokens": model.tokens,
    }


def read_image_spec(
    folder: Path, model: ModelImages | None = None, family_processor: str | None = None
) -> dict[str, Any]:
    """What the processor in a checkpoint's folder does, as JSON for `triton_models/images.py`.

    The keys and values are the processor's own: `do_convert_rgb`; `size` ({"height", "width"}, {"shortest_edge"}, that with
    {"longest_edge"}, or {"max_height", "max_width"}) and `resample` (a number of Pillow's); `crop_size` ({"height", "width"});
    `rescale_factor`; `image_mean` and `image_std` (a float for each channel). Those of a step that is left out are None.
    `num_channels` and `image_size` ({"height", "width"}) are the `model`'s, 3 and None where that is not given.

    Raises SourceError where there is no processor, or one whose pixels the frontend could not make or the model not take.
    """
    file = processor_file(folder, family_processor)
    spec_of_file(file, model)  # whose messages are the clearer ones
    settings = vars(_load(folder, file))
    sizes = {key: dict(settings[key]) for key in ("size", "crop_size") if settings[key] is not None}
    return spec_of(file.path, settings | sizes, model)


def load_processor(folder: Path, channels: int, family_processor: str | None = None) -> Any:
    """The checkpoint's own processor, with the backend of Pillow: the others resize a little differently.

    Where the model has one channel, images are made grey first: `transformers.pipeline` has made them RGB, and the processor
    leaves channels as they are. Raises SourceError where it does not load.
    """
    processor = _load(folder, processor_file(folder, family_processor))
    if channels == 1:
        prepare = processor.process_image
        processor.process_image = lambda image, **options: prepare(image.convert("L"), **options)
    return processor


def reference_pixels(
    folder: Path, images: Sequence[bytes], channels: int = 3, family_processor: str | None = None
) -> list[NDArray[Any]]:
    """The pixels that the checkpoint's own processor makes of encoded images, decoded like `transformers.pipeline` does.

    Arrays `[channels, height, width]`. Raises SourceError where the processor does not load.
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
