"""The frontend's image encoder gives the pixels of transformers' own processors, and refuses what it should."""

import json
import subprocess
import sys
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf2triton.checkpoint.image_processor import read_image_spec, reference_pixels
from hf2triton.checkpoint.image_settings import RESAMPLE, ModelImages
from hf2triton.triton_models import images as frontend
from hf2triton.triton_models.images import ImageEncoder

from .conftest import CLIP, VIT
from .pictures import encoded, noise

ORIENTATION = 0x0112  # EXIF's tag


def deep(width=300, height=200):
    """16 bits a pixel."""
    return Image.fromarray((np.random.default_rng(1).integers(0, 1 << 16, (height, width))).astype(np.uint16))


def palette(**options):
    return encoded(noise(300, 200).quantize(40), **options)


def turned(orientation, format="JPEG"):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(noise(300, 200), format, exif=exif)


def animated(format):
    frames = [noise(120, 90, seed=seed) for seed in range(3)]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=40)


AWKWARD = {
    "greyscale": lambda: encoded(noise(300, 200, "L")),
    "greyscale with a transparent shade": lambda: encoded(noise(300, 200, "L"), transparency=17),
    "greyscale with alpha": lambda: encoded(noise(300, 200, "LA")),
    "greyscale JPEG": lambda: encoded(noise(300, 200, "L"), "JPEG"),
    "palette": palette,
    "palette with a transparent colour": lambda: palette(transparency=3),
    "palette with alphas": lambda: palette(transparency=bytes(range(0, 240, 6))),
    "RGB with a transparent colour": lambda: encoded(noise(60, 40).quantize(9).convert("RGB"), transparency=(0, 0, 0)),
    "RGBA": lambda: encoded(noise(300, 200, "RGBA")),
    "RGBA WebP": lambda: encoded(noise(300, 200, "RGBA"), "WEBP", lossless=True),
    "CMYK JPEG": lambda: encoded(noise(300, 200, "CMYK"), "JPEG"),
    "CMYK TIFF": lambda: encoded(noise(300, 200, "CMYK"), "TIFF"),
    "16 bits, PNG": lambda: encoded(deep()),
    "16 bits, TIFF": lambda: encoded(deep(), "TIFF"),
    "floats, TIFF": lambda: encoded(noise(300, 200, "L").convert("F"), "TIFF"),
    "1 bit, PNG": lambda: encoded(noise(300, 200, "L").convert("1")),
    "1 bit, TIFF, compressed": lambda: encoded(noise(300, 200, "L").convert("1"), "TIFF", compression="group4"),
    "LZW TIFF": lambda: encoded(noise(300, 200), "TIFF", compression="tiff_lzw"),
    "big-endian TIFF": lambda: encoded(noise(30, 20), "TIFF", big_tiff=True),
    "LAB TIFF": lambda: encoded(Image.frombytes("LAB", (30, 20), noise(30, 20).tobytes()), "TIFF"),
    "BMP": lambda: encoded(noise(301, 199), "BMP"),
    "GIF": lambda: palette(format="GIF"),
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP"),
    "animated PNG": lambda: animated("PNG"),
    "multi-picture JPEG": lambda: animated("MPO"),
    "many-page TIFF": lambda: animated("TIFF"),
    "progressive JPEG": lambda: encoded(noise(300, 200), "JPEG", progressive=True, quality=30),
    "one pixel": lambda: encoded(noise(1, 1)),
    "one pixel high": lambda: encoded(noise(2000, 1)),
    "one pixel wide": lambda: encoded(noise(1, 2000)),
    "very large": lambda: encoded(noise(5000, 3000), "JPEG"),
    "odd sizes": lambda: encoded(noise(333, 227)),
    "smaller than the crop": lambda: encoded(noise(31, 60)),
    "as large as the model takes": lambda: encoded(noise(224, 224)),
    **{f"EXIF orientation {number}": partial(turned, number) for number in range(1, 9)},
    **{f"EXIF orientation 6, {format}": partial(turned, 6, format) for format in ("PNG", "WEBP", "TIFF")},
}


@pytest.fixture(scope="session")
def file_of():
    """The awkward file of this name, made once."""
    files = {}

    def file(name):
        if name not in files:
            files[name] = AWKWARD[name]()
        return files[name]

    return file


CONFIGURATIONS = {
    "ViT": VIT,
    "ViT 384": VIT | {"size": 384},
    "not square": VIT | {"size": {"height": 100, "width": 160}},
    "shortest edge, no crop": VIT | {"size": {"shortest_edge": 90}},
    "composited on white": VIT | {"do_convert_rgb": True},
    "not resized": VIT | {"do_resize": False},
    "not resized, cropped": CLIP | {"do_resize": False},
    "not rescaled": VIT | {"do_rescale": False},
    "not normalised": VIT | {"do_normalize": False},
    "neither rescaled nor normalised": VIT | {"do_rescale": False, "do_normalize": False},
    "rescaled otherwise": VIT | {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 1},
    "a mean and deviation a channel": VIT | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "CLIP": CLIP,
    "CLIP 336": CLIP | {"size": 336, "crop_size": 336},
    "CLIP, no RGB conversion": CLIP | {"do_convert_rgb": False},
    "crop larger than the edge": CLIP | {"size": 97, "crop_size": 225},
    "crop of another shape": CLIP | {"size": 150, "crop_size": {"height": 31, "width": 400}},
    "DeiT": {"image_processor_type": "DeiTImageProcessor"},
    **{f"ViT {name}": VIT | {"resample": number} for number, name in RESAMPLE.items()},
    **{f"CLIP {name}": CLIP | {"resample": number} for number, name in RESAMPLE.items()},
}
FEW = (
    "RGBA",
    "RGB with a transparent colour",
    "palette with alphas",
    "odd sizes",
    "smaller than the crop",
    "one pixel",
)


@pytest.mark.parametrize("settings", [VIT, CLIP], ids=["ViT", "CLIP"])
@pytest.mark.parametrize("name", AWKWARD)
def test_every_kind_of_file(name, settings, file_of, assert_same_pixels):
    """Whatever the mode, depth, orientation, number of frames and size, the pixels are transformers' own."""
    assert_same_pixels(settings, [file_of(name)])


@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_every_step_and_filter(settings, file_of, assert_same_pixels):
    """Whichever steps, sizes and filters a checkpoint asks for, the pixels are transformers' own."""
    assert_same_pixels(settings, [file_of(name) for name in FEW])


@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    edge=st.integers(1, 160),
    crop=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    resample=st.sampled_from(list(RESAMPLE)),
)
def test_every_size(assert_same_pixels, width, height, edge, crop, resample):
    """Rounding of the resized edge and of the crop's place is transformers' own at every size."""
    settings = CLIP | {
        "size": edge,
        "crop_size": dict(zip(("height", "width"), crop, strict=True)),
        "resample": resample,
    }
    assert_same_pixels(settings, [encoded(noise(width, height), compress_level=0)])


@pytest.mark.parametrize("settings", [VIT, CLIP], ids=["ViT", "CLIP"])
def test_the_images_of_parity(settings, assert_same_pixels):
    """The real photographs that exports are proven with come out as transformers' own, in one batch."""
    folder = resources.files("hf2triton") / "data" / "images"
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".md"]
    assert len(files) >= 8
    assert_same_pixels(settings, files)


def test_the_graphs_input(encoder_of, file_of):
    """Rows become one contiguous batch in their order."""
    encoder = encoder_of(VIT)
    rows = encoder.encode([file_of("RGBA"), file_of("GIF")])
    pixels = encoder.feeds(rows)["pixel_values"]
    assert (pixels.shape, pixels.dtype) == ((2, 3, 224, 224), np.float32)
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels[1], rows[1])


def test_sizes_that_the_model_does_not_take(folder_of):
    """Where nothing resizes, an image of another size than the model's fails alone instead of breaking its batch."""
    spec = read_image_spec(folder_of(VIT | {"do_resize": False}), ModelImages("config.json", 3, 30, 40))
    right, wrong = ImageEncoder(spec, 1 << 20, 10**6, 1).encode([encoded(noise(40, 30)), encoded(noise(30, 40))])
    assert right.shape == (3, 30, 40)
    assert "30 x 40 pixels" in str(wrong)
    assert "takes 40 x 30" in str(wrong)


#: Sizes that depend on the image, and others that are not square.
SIZES = {
    "not square": {"size": {"height": 28, "width": 42}},
    "a list": {"size": [42, 28]},
    "both edges": {"size": {"shortest_edge": 30, "longest_edge": 44}},
    "one edge for both": {"size": {"shortest_edge": 30, "longest_edge": 30}},
    "the largest height and width": {"size": {"max_height": 31, "max_width": 44}},
    "a crop that is not square": {"size": {"shortest_edge": 30}, "do_center_crop": True, "crop_size": [29, 44]},
    "a crop beyond the image": {"size": [9, 40], "do_center_crop": True, "crop_size": [30, 28]},
    "a crop of what is as it was": {"do_resize": False, "do_center_crop": True, "crop_size": [150, 310]},
    "bytes": {"size": [9, 8], "do_rescale": False, "do_normalize": False},
    "bytes, normalised": {
        "size": [9, 8],
        "do_rescale": False,
        "image_mean": [120, 110, 100],
        "image_std": [60, 61, 62],
    },
    "rescaled alone": {"size": [9, 8], "do_normalize": False, "rescale_factor": 1 / 127.5},
}


@pytest.mark.parametrize("settings", SIZES.values(), ids=SIZES)
def test_sizes(settings, assert_same_pixels):
    """Images of all shapes are brought to each form of a size, with the processor's own roundings."""
    shapes = [(300, 200), (200, 300), (30, 30), (44, 30), (30, 45), (1, 1), (3, 44), (97, 13), (61, 59)]
    shapes = [shape for shape in shapes if "longest_edge" not in str(settings) or shape != (3, 44)]
    assert_same_pixels(VIT | settings, [encoded(noise(*shape)) for shape in shapes])


@given(
    st.sampled_from([{"shortest_edge": 30, "longest_edge": 44}, {"shortest_edge": 224, "longest_edge": 225}])
    | st.fixed_dictionaries({"shortest_edge": st.integers(1, 500), "longest_edge": st.integers(1, 500)})
    | st.fixed_dictionaries({"shortest_edge": st.integers(1, 500)})
    | st.fixed_dictionaries({"max_height": st.integers(1, 500), "max_width": st.integers(1, 500)}),
    st.integers(1, 999),
    st.integers(1, 999),
)
def test_roundings(size, width, height):
    """Sizes are rounded as transformers rounds them, whatever the image's shape."""
    expected = transformers_size(size, width, height)
    assert frontend.resized(size, width, height) == (expected[1], expected[0])


def transformers_size(size, width, height):
    """Height and width, by the functions of transformers that its processors call."""
    from transformers.image_transforms import get_resize_output_image_size, get_size_with_aspect_ratio
    from transformers.image_utils import ChannelDimension, get_image_size_for_max_height_width

    if "max_height" in size:
        return get_image_size_for_max_height_width((height, width), size["max_height"], size["max_width"])
    if "longest_edge" in size:
        return get_size_with_aspect_ratio((height, width), size["shortest_edge"], size["longest_edge"])
    image = np.empty((3, height, width))
    return get_resize_output_image_size(
        image, size["shortest_edge"], default_to_square=False, input_data_format=ChannelDimension.FIRST
    )


GREY = VIT | {"size": [30, 40], "image_mean": [0.4], "image_std": [0.3]}


@pytest.mark.parametrize("name", [name for name in AWKWARD if "16 bits" not in name and "floats" not in name])
def test_one_channel(name, folder_of):
    """For a model with one channel images of any mode are made grey, and then prepared as its processor prepares them."""
    folder, data = folder_of(GREY), AWKWARD[name]()
    spec = json.loads(json.dumps(read_image_spec(folder, ModelImages("config.json", 1, 30, 40))))
    [expected] = reference_pixels(folder, [data], channels=1)
    [actual] = ImageEncoder(spec, 1 << 26, 10**8, 1).encode([data])
    assert actual.shape == (1, 30, 40)
    np.testing.assert_array_equal(actual, expected)


def test_one_channel_of_16_bits(folder_of):
    """Images of which a model with one channel would see eight bits alone are refused, as its processor refuses them."""
    spec = read_image_spec(folder_of(GREY), ModelImages("config.json", 1, 30, 40))
    [refused] = ImageEncoder(spec, 1 << 26, 10**8, 1).encode([encoded(deep())])
    assert str(refused) == "the image has more than 8 bits a pixel; the model takes greyscale images of 8 bits"


def test_it_needs_only_numpy_and_pillow():
    """Inside Triton there is nothing else: the module loads where hf2triton, torch and transformers cannot be imported."""
    script = (
        "import sys\n"
        "for name in ('hf2triton', 'torch', 'transformers'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(Path(frontend.__file__).parents[1])!r})\n"
        "import triton_models.images\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
