"""Image processors are read as transformers reads them, whichever version wrote them, or refused with the file and the key."""

import io
import json
from importlib import resources

import numpy as np
import pytest
import transformers
from PIL import Image

from hf2triton.errors import SourceError
from hf2triton.image_processor import PROCESSORS, read_image_spec, reference_pixels

HALF, CLIP_MEAN = [0.5] * 3, [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
SQUARE = {"height": 224, "width": 224}
VIT_SPEC = {
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
}


def write(folder, settings, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(("settings", "spec"), WRITTEN.values(), ids=WRITTEN)
def test_what_transformers_wrote(settings, spec, tmp_path):
    """Files of transformers 4 and 5, and of the feature extractors before them, give the steps that they mean."""
    assert read_image_spec(write(tmp_path, settings)) == spec


@pytest.mark.parametrize("name", PROCESSORS)
def test_what_this_transformers_writes(name, tmp_path):
    """A processor saved by the installed transformers is read back, and its spec survives JSON."""
    getattr(transformers, f"{name}Pil")(rescale_factor=1 / 127.5).save_pretrained(tmp_path)
    spec = read_image_spec(tmp_path)
    assert spec["rescale_factor"] == 1 / 127.5
    assert json.loads(json.dumps(spec)) == spec


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
    write(tmp_path, {"model_type": "clip"}, "config.json")
    assert read_image_spec(write(tmp_path, {"size": 224})) == CLIP_SPEC


REFUSED = {
    "unknown": (
        {"image_processor_type": "ConvNextImageProcessor"},
        f"ConvNextImageProcessor; .*{', '.join(PROCESSORS)}",
    ),
    "remote code": (
        {"image_processor_type": "Mine", "auto_map": {"AutoImageProcessor": "mine.Mine"}},
        f"Mine; .*{', '.join(PROCESSORS)}",
    ),
    "no name": ({"size": 224}, "does not load: Unrecognized image processor"),
    "padding": ({"image_processor_type": VIT, "do_pad": True, "pad_size": 300}, "asks for do_pad"),
    "a step of others": ({"image_processor_type": VIT, "do_thumbnail": True}, "asks for do_thumbnail"),
    "longest edge": ({"image_processor_type": VIT, "size": {"longest_edge": 9}}, "size {'longest_edge': 9}"),
    "both edges": (
        {"image_processor_type": VIT, "size": {"shortest_edge": 5, "longest_edge": 9}},
        "size .*height and width or shortest_edge",
    ),
    "size in words": ({"image_processor_type": VIT, "size": "224"}, "does not load: Could not convert size"),
    "no pixels": ({"image_processor_type": VIT, "size": 0}, "size {'height': 0"),
    "a crop to an edge": (
        {"image_processor_type": CLIP, "crop_size": {"shortest_edge": 9}},
        "crop_size .*height and width",
    ),
    "a crop to nothing": ({"image_processor_type": VIT, "do_center_crop": True}, "crop_size None"),
    "filter": ({"image_processor_type": VIT, "resample": 9}, r"resample 9; .* 3 \(bicubic\)"),
    "two channels": ({"image_processor_type": VIT, "image_mean": [0.5, 0.5]}, "image_mean .* three numbers"),
    "no deviation": ({"image_processor_type": VIT, "image_std": [0.5, 0, 0.5]}, "image_std .* three numbers"),
    "not a number": ({"image_processor_type": VIT, "rescale_factor": "1/255"}, "rescale_factor '1/255'"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_reproduced(settings, message, tmp_path):
    """A processor whose pixels the front could not make is refused, with its file and the key at fault."""
    with pytest.raises(SourceError, match=message) as refused:
        read_image_spec(write(tmp_path, settings))
    assert str(tmp_path / "preprocessor_config.json") in str(refused.value)


def test_no_processor(tmp_path):
    """A checkpoint without a processor is told which files are looked for."""
    write(tmp_path, {"model_type": "vit"}, "config.json")
    with pytest.raises(SourceError, match=r"no image processor \(preprocessor_config.json or processor_config.json\)"):
        read_image_spec(tmp_path)


def test_a_broken_file(tmp_path):
    """A file that is no JSON is named."""
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(SourceError, match="preprocessor_config.json cannot be read"):
        read_image_spec(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"image_processor_type": VIT}, {"image_processor_type": CLIP}], ids=["ViT", "CLIP"]
)
def test_the_models_size(settings, tmp_path):
    """A processor that makes images of another size than the model's is found before anything is exported."""
    write(tmp_path, settings)
    assert read_image_spec(tmp_path, 224)["image_size"] == SQUARE
    with pytest.raises(SourceError, match="size 224 x 224; the model's config.json has the image_size 384"):
        read_image_spec(tmp_path, 384)


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
