"""Image processors are read as transformers reads them, whichever version wrote them, or refused with the file and the key."""

import io
import json
from importlib import resources

import numpy as np
import pytest
import transformers
from PIL import Image

from hf2triton.checkpoint.image_processor import load_processor, read_image_spec, reference_pixels
from hf2triton.checkpoint.image_settings import PROCESSORS, processor_file, spec_of_file
from hf2triton.errors import SourceError
from hf2triton.families import FAMILIES

from .processors import CLIP, SQUARE, VIT, write

HALF, CLIP_MEAN = [0.5] * 3, [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
VIT_SPEC = {
    "num_channels": 3,
    "do_convert_rgb": False,
    "size": SQUARE,
    "resample": 2,
    "crop_size": None,
    "rescale_factor": 1 / 255,
    "image_mean": HALF,
    "image_std": HALF,
    "image_size": None,
}
CLIP_SPEC = {
    "num_channels": 3,
    "do_convert_rgb": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "crop_size": SQUARE,
    "rescale_factor": 1 / 255,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "image_size": None,
}
#: What wrote it -> the settings, and the spec that they mean. Abridged from files as the hub has them.
WRITTEN = {
    "ViT, transformers 4.6": (
        {
            "feature_extractor_type": "ViTFeatureExtractor",
            "do_normalize": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_std": HALF,
            "resample": 2,
            "size": 224,
        },
        VIT_SPEC,
    ),
    "ViT, transformers 4.26": (
        {
            "image_processor_type": "ViTFeatureExtractor",
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_std": HALF,
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
            "size": SQUARE,
        },
        VIT_SPEC,
    ),
    "ViT, transformers 4.50": (
        {
            "image_processor_type": "ViTImageProcessorFast",
            "crop_size": None,
            "data_format": "channels_first",
            "default_to_square": True,
            "device": None,
            "do_center_crop": None,
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": HALF,
            "image_std": HALF,
            "input_data_format": None,
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
            "return_tensors": None,
            "size": SQUARE,
        },
        VIT_SPEC,
    ),
    "ViT, nothing but its name": ({"image_processor_type": VIT}, VIT_SPEC),
    "CLIP, transformers 4.0": (
        {
            "feature_extractor_type": "CLIPFeatureExtractor",
            "crop_size": 224,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "resample": 3,
            "size": 224,
        },
        CLIP_SPEC,
    ),
    "CLIP, transformers 4.45": (
        {
            "image_processor_type": CLIP,
            "_valid_processor_keys": ["images", "do_resize", "size"],
            "crop_size": SQUARE,
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"shortest_edge": 224},
        },
        CLIP_SPEC,
    ),
    "CLIP, nothing but its name": ({"image_processor_type": CLIP}, CLIP_SPEC),
    "DeiT, transformers 4.6": (
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224, "do_center_crop": True},
        VIT_SPEC | {"size": {"height": 256, "width": 256}, "crop_size": SQUARE, "resample": 3},
    ),
    "steps left out": (
        {"image_processor_type": CLIP, "do_resize": False, "do_center_crop": False, "do_normalize": False},
        CLIP_SPEC | {"size": None, "resample": None, "crop_size": None, "image_mean": None, "image_std": None},
    ),
    "one mean for all channels": ({"image_processor_type": VIT, "image_mean": 0.5, "image_std": 0.5}, VIT_SPEC),
    "not square": (
        {"image_processor_type": VIT, "size": {"height": 28, "width": 42}},
        VIT_SPEC | {"size": {"height": 28, "width": 42}},
    ),
    "a list, height first": (
        {"image_processor_type": VIT, "size": [28, 42], "do_center_crop": True, "crop_size": [20, 30]},
        VIT_SPEC | {"size": {"height": 28, "width": 42}, "crop_size": {"height": 20, "width": 30}},
    ),
    "a list for CLIP": (
        {"image_processor_type": CLIP, "size": [240, 300]},
        CLIP_SPEC | {"size": {"height": 240, "width": 300}},
    ),
    "the edges that ViT is to keep": (
        {
            "image_processor_type": VIT,
            "size": 256,
            "default_to_square": False,
            "do_center_crop": True,
            "crop_size": 224,
        },
        VIT_SPEC | {"size": {"shortest_edge": 256}, "crop_size": SQUARE},
    ),
    "a square for CLIP": (
        {"image_processor_type": CLIP, "size": 240, "default_to_square": True},
        CLIP_SPEC | {"size": {"height": 240, "width": 240}},
    ),
    "both edges": (
        {"image_processor_type": CLIP, "size": {"shortest_edge": 224, "longest_edge": 300}},
        CLIP_SPEC | {"size": {"shortest_edge": 224, "longest_edge": 300}},
    ),
    "the largest height and width": (
        {"image_processor_type": CLIP, "size": {"max_height": 224, "max_width": 300}},
        CLIP_SPEC | {"size": {"max_height": 224, "max_width": 300}},
    ),
    "steps set to nothing": (
        {"image_processor_type": CLIP, "do_convert_rgb": None, "do_center_crop": None, "do_normalize": None},
        CLIP_SPEC | {"do_convert_rgb": False, "crop_size": None, "image_mean": None, "image_std": None},
    ),
    "bytes as they are": (
        {"image_processor_type": VIT, "do_rescale": False, "do_normalize": False},
        VIT_SPEC | {"rescale_factor": None, "image_mean": None, "image_std": None},
    ),
}


@pytest.mark.parametrize(("settings", "spec"), WRITTEN.values(), ids=WRITTEN)
def test_what_transformers_wrote(settings, spec, tmp_path):
    """Files of transformers 4 and 5, and of the feature extractors before them, give the steps that they mean, with
    transformers and from the file alone."""
    assert read_image_spec(write(tmp_path, settings)) == spec
    assert spec_of_file(processor_file(tmp_path), None) == spec


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_this_transformers_writes(name, tmp_path):
    """A processor saved by the installed transformers is read back, and its spec survives JSON."""
    getattr(transformers, f"{name}Pil")(rescale_factor=1 / 127.5).save_pretrained(tmp_path)
    spec = read_image_spec(tmp_path)
    assert spec == spec_of_file(processor_file(tmp_path), None)
    assert spec["rescale_factor"] == 1 / 127.5
    assert json.loads(json.dumps(spec)) == spec


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_a_name_alone_means(name, tmp_path):
    """A processor's defaults are those of the installed transformers."""
    write(tmp_path, {"image_processor_type": name})
    assert spec_of_file(processor_file(tmp_path), None) == read_image_spec(tmp_path)


def test_the_part_of_a_larger_processor(tmp_path):
    """transformers 5 writes CLIP's image processor into processor_config.json, which goes before an older file."""
    nested = {"image_processor": {"image_processor_type": CLIP, "size": {"shortest_edge": 336}, "crop_size": 336}}
    write(tmp_path, nested | {"processor_class": "CLIPProcessor"}, "processor_config.json")
    write(tmp_path, {"image_processor_type": CLIP})
    assert read_image_spec(tmp_path)["size"] == {"shortest_edge": 336}


def test_a_larger_processor_without_it(tmp_path):
    """A processor_config.json of transformers 4 says nothing of images; the older file does."""
    write(tmp_path, {"processor_class": "CLIPProcessor"}, "processor_config.json")
    assert read_image_spec(write(tmp_path, {"image_processor_type": CLIP})) == CLIP_SPEC


def test_without_a_name_the_model_decides(tmp_path):
    """Settings that name no class are read as the model's family reads them."""
    write(tmp_path, {"size": 224})
    assert read_image_spec(tmp_path, family_processor=FAMILIES["clip"].image_processor) == CLIP_SPEC
    for family, mapped in transformers.models.auto.image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES.items():
        if family in FAMILIES:
            assert FAMILIES[family].image_processor in mapped.values(), family


REFUSED = {
    "unknown": (
        {"image_processor_type": "ConvNextImageProcessor"},
        f"ConvNextImageProcessor; .*{', '.join(PROCESSORS)}",
    ),
    "remote code": (
        {"image_processor_type": "Mine", "auto_map": {"AutoImageProcessor": "mine.Mine"}},
        f"Mine; .*{', '.join(PROCESSORS)}",
    ),
    "no name": ({"size": 224}, "does not say of which kind .* image_processor_type"),
    "a name that is none": ({"image_processor_type": ["ViT"]}, "is of a .*ViT"),
    "not true or false": ({"image_processor_type": VIT, "do_resize": "false"}, "do_resize 'false'; .*true or false"),
    "another order of channels": ({"image_processor_type": VIT, "do_flip_channel_order": True}, "asks for do_flip"),
    "padding": ({"image_processor_type": VIT, "do_pad": True, "pad_size": 300}, "asks for do_pad"),
    "a step of others": ({"image_processor_type": VIT, "do_thumbnail": True}, "asks for do_thumbnail"),
    "longest edge": ({"image_processor_type": VIT, "size": {"longest_edge": 9}}, "size {'longest_edge': 9}"),
    "pixels in all": (
        {"image_processor_type": VIT, "size": {"min_pixels": 5, "max_pixels": 9}},
        "size .*height and width, or shortest_edge, or .* max_height and max_width",
    ),
    "an edge too many": (
        {"image_processor_type": VIT, "size": {"height": 5, "width": 5, "shortest_edge": None}},
        "size .*height and width",
    ),
    "half a size": ({"image_processor_type": VIT, "size": {"height": 5}}, "size {'height': 5}; it must be"),
    "size in words": ({"image_processor_type": VIT, "size": "224"}, "size '224'; it must be height and width"),
    "no pixels": ({"image_processor_type": VIT, "size": 0}, "size 0; it must be .*, in pixels"),
    "half a pixel": ({"image_processor_type": VIT, "size": {"height": 2.5, "width": 2}}, "size .*2.5"),
    "a list of one": ({"image_processor_type": VIT, "size": [224]}, r"size \[224\]"),
    "a list of three": ({"image_processor_type": VIT, "size": [3, 224, 224]}, r"size \[3, 224, 224\]"),
    "a crop of three": ({"image_processor_type": CLIP, "crop_size": [3, 224, 224]}, r"crop_size \[3, 224, 224\]"),
    "a crop to an edge": (
        {"image_processor_type": CLIP, "crop_size": {"shortest_edge": 9}},
        "crop_size .*height and width",
    ),
    "a crop to nothing": ({"image_processor_type": VIT, "do_center_crop": True}, "crop_size None"),
    "filter": ({"image_processor_type": VIT, "resample": 9}, r"resample 9; .* 3 \(bicubic\)"),
    "two channels": (
        {"image_processor_type": VIT, "image_mean": [0.5, 0.5]},
        r"image_mean .*\(3: red, green and blue\)",
    ),
    "no deviation": ({"image_processor_type": VIT, "image_std": [0.5, 0, 0.5]}, "image_std .*none of them 0"),
    "a filter by name": ({"image_processor_type": VIT, "resample": "bicubic"}, "resample 'bicubic'"),
    "not a number": ({"image_processor_type": VIT, "rescale_factor": "1/255"}, "rescale_factor '1/255'"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_reproduced(settings, message, tmp_path):
    """A processor whose pixels the frontend could not make is refused, with its file and the key at fault."""
    with pytest.raises(SourceError, match=message) as refused:
        read_image_spec(write(tmp_path, settings))
    assert str(tmp_path / "preprocessor_config.json") in str(refused.value)


@pytest.mark.parametrize("key", ["size", "resample", "crop_size", "rescale_factor", "image_mean", "image_std"])
def test_settings_that_are_null(key, tmp_path):
    """A null is not the default: transformers fails with the step that lacks its setting, and the file is refused."""
    write(tmp_path, {"image_processor_type": CLIP, key: None})
    with pytest.raises(ValueError, match=f"`{key}`|cannot be used"):
        transformers.CLIPImageProcessorPil.from_pretrained(tmp_path)(images=Image.new("RGB", (9, 9)))
    with pytest.raises(SourceError, match=f"the {key} None; it must be"):
        spec_of_file(processor_file(tmp_path), None)


def test_no_processor(tmp_path):
    """A checkpoint without a processor is told which files are looked for."""
    with pytest.raises(SourceError, match=r"no image processor \(preprocessor_config.json or processor_config.json\)"):
        read_image_spec(tmp_path)


def test_a_broken_file(tmp_path):
    """A file that is no JSON is named."""
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(SourceError, match=r"preprocessor_config.json cannot be read"):
        read_image_spec(tmp_path)


def test_a_file_that_is_no_object(tmp_path):
    """A processor's file that holds something else than settings is named."""
    with pytest.raises(SourceError, match=r"preprocessor_config.json does not hold a JSON object"):
        read_image_spec(write(tmp_path, [1, 2]))


def test_grey_images_for_one_channel(tmp_path):
    """The reference makes images grey for a model with one channel, and leaves them to the processor then."""
    write(tmp_path, {"image_processor_type": VIT, "size": 30, "image_mean": [0.4], "image_std": [0.3]})
    colour = (resources.files("hf2triton") / "data" / "images" / "astronaut.jpg").read_bytes()
    grey = Image.open(io.BytesIO(colour)).convert("L")
    plain = transformers.ViTImageProcessorPil.from_pretrained(tmp_path)
    [expected] = plain(images=grey, return_tensors="np")["pixel_values"]
    [actual] = reference_pixels(tmp_path, [colour], channels=1)
    np.testing.assert_array_equal(actual, expected)
    assert load_processor(tmp_path, 1)(images=grey.convert("RGB"))["pixel_values"][0].shape == (1, 30, 30)


def test_reference_pixels_are_the_pipelines(tmp_path):
    """The reference is what `transformers.pipeline` hands to the model."""
    settings = {"image_processor_type": CLIP, "size": {"shortest_edge": 40}, "crop_size": 32}
    config = transformers.ViTConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=32, patch_size=16
    )
    folder = write(tmp_path, settings)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    pipeline = transformers.pipeline(
        "image-classification",
        model=str(folder),
        image_processor=transformers.AutoImageProcessor.from_pretrained(folder, backend="pil"),
    )
    files = [
        (resources.files("hf2triton") / "data" / "images" / name).read_bytes() for name in ("rocket.jpg", "horse.png")
    ]
    for data, pixels in zip(files, reference_pixels(folder, files), strict=True):
        [expected] = pipeline.preprocess(Image.open(io.BytesIO(data)))["pixel_values"].numpy()
        assert pixels.shape == (3, 32, 32)
        np.testing.assert_array_equal(pixels, expected)
