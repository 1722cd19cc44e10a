"""Image processors are read as transformers reads them, whichever version wrote them, or refused with the file and the key."""

import io
import json
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest
import transformers
from PIL import Image

from hf2triton.checkpoint.image_processor import load_processor, read_image_spec, read_images, reference_pixels
from hf2triton.checkpoint.image_settings import (
    PROCESSORS,
    ModelImages,
    check_images,
    model_images,
    processor_file,
    spec_of_file,
)
from hf2triton.core.source import Source
from hf2triton.errors import SourceError
from hf2triton.families import FAMILIES

HALF, CLIP_MEAN = [0.5] * 3, [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
SQUARE = {"height": 224, "width": 224}
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
VIT, CLIP = "ViTImageProcessor", "CLIPImageProcessor"
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


def write(folder, settings, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(settings))
    return folder


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


def vit(folder, settings, **config):
    """The folder of a ViT whose config.json says `config`."""
    write(folder, config, "config.json")
    return write(folder, {"image_processor_type": VIT} | settings)


@pytest.mark.parametrize(
    "settings", [{"image_processor_type": VIT}, {"image_processor_type": CLIP}], ids=["ViT", "CLIP"]
)
def test_the_models_size(settings, tmp_path):
    """A processor that makes images of another size than the model's is found before anything is exported, with both files."""
    write(tmp_path, settings)
    config = tmp_path / "config.json"
    assert read_image_spec(tmp_path, ModelImages(config, 3, 224, 224))["image_size"] == SQUARE
    with pytest.raises(SourceError, match=r"size height 224, width 224; .* the image_size 384 x 384") as refused:
        spec_of_file(processor_file(tmp_path), ModelImages(config, 3, 384, 384))
    assert str(tmp_path / "preprocessor_config.json") in str(refused.value)
    assert str(config) in str(refused.value)


#: What a ViT's config.json says -> channels, height, width and tokens.
MODELS = {
    "a number": ({"image_size": 28, "patch_size": 4}, (3, 28, 28, 50)),
    "lists": ({"image_size": [28, 42], "patch_size": [4, 7]}, (3, 28, 42, 43)),
    "square patches": ({"image_size": [28, 42], "patch_size": 14}, (3, 28, 42, 7)),
    "a rest": ({"image_size": 30, "patch_size": 7}, (3, 30, 30, 17)),
    "one channel": ({"image_size": 28, "patch_size": 4, "num_channels": 1}, (1, 28, 28, 50)),
    "silence": ({}, (3, 224, 224, None)),
}


@pytest.mark.parametrize(("config", "expected"), MODELS.values(), ids=MODELS)
def test_what_a_model_takes(config, expected, tmp_path):
    """Sizes of images and patches are read in each form that transformers takes, and patches are counted as it counts them."""
    model = model_images(tmp_path, config, FAMILIES["vit"])
    assert (model.channels, model.height, model.width, model.tokens) == expected
    if "image_size" in config:
        embeddings = transformers.ViTModel(transformers.ViTConfig(**TINY, **config)).embeddings
        assert embeddings.position_embeddings.shape[1] == model.tokens


TINY = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


@pytest.mark.parametrize("config", [transformers.ViTConfig(), transformers.CLIPVisionConfig()], ids=["ViT", "CLIP"])
def test_what_a_silent_config_means(config, tmp_path):
    """Where config.json gives no size and no channels, those of transformers are meant."""
    model = model_images(tmp_path, {}, FAMILIES["vit"])
    assert (model.channels, model.height, model.width) == (config.num_channels, config.image_size, config.image_size)


#: Family, what its config.json says, and the words of the refusal.
REFUSED_MODELS = {
    "a dict": (
        "vit",
        {"image_size": {"height": 28, "width": 28}},
        r"image_size \{.*a number of pixels or \[height, width\]",
    ),
    "a list of three": ("vit", {"image_size": [3, 28, 28]}, r"image_size \[3, 28, 28\]"),
    "null": ("vit", {"image_size": None}, "image_size None"),
    "words": ("vit", {"patch_size": "4"}, "patch_size '4'"),
    "nothing": ("vit", {"patch_size": 0}, "patch_size 0"),
    "no patch": (
        "vit",
        {"image_size": [28, 8], "patch_size": 16},
        "patch_size 16 x 16.*image_size 28 x 8.*not one patch",
    ),
    "four channels": ("vit", {"num_channels": 4}, r"num_channels 4; .* 1 \(greyscale\) or 3"),
    "CLIP with a list": ("clip", {"image_size": [32, 32]}, r"image_size \[32, 32\]; .*one number.*square"),
    "CLIP's patches": ("clip", {"patch_size": [4, 4]}, r"patch_size \[4, 4\]; .*one number"),
}


@pytest.mark.parametrize(("family", "config", "message"), REFUSED_MODELS.values(), ids=REFUSED_MODELS)
def test_a_model_that_transformers_cannot_compute(family, config, message, tmp_path):
    """Sizes that no model of the family can have are refused with the file, the key and what it may be."""
    with pytest.raises(SourceError, match=message) as refused:
        model_images(tmp_path / "config.json", config, FAMILIES[family])
    assert str(tmp_path / "config.json") in str(refused.value)


#: The processor's settings and the model's image_size -> whether they fit.
FITS = {
    "the same": ({"size": [28, 42]}, [28, 42], True),
    "turned": ({"size": [42, 28]}, [28, 42], False),
    "the crop decides": ({"size": 99, "do_center_crop": True, "crop_size": [28, 42]}, [28, 42], True),
    "the shortest edge": ({"size": {"shortest_edge": 28}}, [28, 42], True),
    "another edge": ({"size": {"shortest_edge": 42}}, [28, 42], False),
    "both edges": ({"size": {"shortest_edge": 30, "longest_edge": 42}}, [28, 42], True),
    "a longest edge that is too short": ({"size": {"shortest_edge": 28, "longest_edge": 40}}, [28, 42], False),
    "at most as much": ({"size": {"max_height": 28, "max_width": 99}}, [28, 42], True),
    "at most more": ({"size": {"max_height": 30, "max_width": 99}}, [28, 42], False),
    "nothing resizes": ({"do_resize": False, "size": 99}, [28, 42], True),
}


@pytest.mark.parametrize(("settings", "image_size", "fits"), FITS.values(), ids=FITS)
def test_whether_any_image_fits(settings, image_size, fits, tmp_path):
    """Files belong together if an image of the model's size keeps it; the files alone tell."""
    folder, config = vit(tmp_path, settings, image_size=image_size, patch_size=4), {"image_size": image_size}
    if fits:
        check_images(folder, config, FAMILIES["vit"])
        source = Source(str(folder), folder, None, config)
        image = read_images(source, config | {"patch_size": 4, "num_channels": 3}, FAMILIES["vit"])
        assert (image["shape"], image["tokens"]) == ((3, 28, 42), 71)
    else:
        with pytest.raises(SourceError, match="image_size 28 x 42"):
            check_images(folder, config, FAMILIES["vit"])


ONE_CHANNEL = {
    "means for three": ({}, "image_mean .* 1: greyscale"),
    "deviations for three": ({"image_mean": [0.5]}, "image_std .* 1: greyscale"),
    "made RGB": ({"image_mean": 0.5, "image_std": 0.5, "do_convert_rgb": True}, "do_convert_rgb.*num_channels 1"),
}


@pytest.mark.parametrize(("settings", "message"), ONE_CHANNEL.values(), ids=ONE_CHANNEL)
def test_a_processor_for_three_channels(settings, message, tmp_path):
    """A processor that cannot make the one channel of a model is refused."""
    folder = vit(tmp_path, settings)
    with pytest.raises(SourceError, match=message.replace("* 1", r"*\(1")):
        check_images(folder, {"num_channels": 1}, FAMILIES["vit"])


def test_parts_of_a_config(tmp_path):
    """A model of text and images is looked at in its image part, also in the spelling that transformers prefers to it."""
    write(tmp_path, {"image_processor_type": CLIP, "crop_size": 32})
    check_images(tmp_path, {"vision_config": {"image_size": 32}, "image_size": 5}, FAMILIES["clip"])
    old = {"vision_config_dict": {"image_size": 32}, "vision_config": {"image_size": 5}}
    assert transformers.CLIPConfig(**old).vision_config.image_size == 32
    check_images(tmp_path, old, FAMILIES["clip"])
    with pytest.raises(SourceError, match=r"crop_size height 32, width 32; .* 224 x 224"):
        check_images(tmp_path, {"vision_config": None}, FAMILIES["clip"])


def test_files_are_looked_at_without_torch(tmp_path):
    """Files that do not belong together are found before torch and transformers are imported."""
    vit(tmp_path, {}, image_size=28)
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from hf2triton.families import FAMILIES\n"
        "from hf2triton.checkpoint.image_settings import check_images\n"
        f"check_images(Path({str(tmp_path)!r}), {{'image_size': 28}}, FAMILIES['vit'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "SourceError" in done.stderr
    assert "size height 224, width 224" in done.stderr


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
