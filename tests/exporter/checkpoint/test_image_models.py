"""What a model takes as an image, and whether its processor makes such images, is found from their files."""

import json
import subprocess
import sys

import pytest
import torch
import transformers

from hf2triton.checkpoint.image_processor import read_image_spec, read_images
from hf2triton.checkpoint.image_settings import ModelImages, check_images, model_images, processor_file, spec_of_file
from hf2triton.core.source import Source
from hf2triton.errors import SourceError
from hf2triton.families import FAMILIES

from .processors import CLIP, SQUARE, VIT, write


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


#: What a model has besides its patches, and the size of what its processor makes, if that decides.
CROP = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 48}, "crop_size": [28, 42]}
TOKENS = {
    "two class tokens": ("deit", {"image_size": 28, "patch_size": 4}, {}, (28, 28, 51)),
    "no class token": ("siglip", {"image_size": 28, "patch_size": 4}, {}, (28, 28, 49)),
    "a crop": ("dinov2", {"image_size": 70, "patch_size": 14}, CROP, (28, 42, 7)),
    "registers": ("dinov2_with_registers", {"image_size": 70, "patch_size": 14}, CROP, (28, 42, 11)),
    "two registers": (
        "dinov2_with_registers",
        {"image_size": 70, "patch_size": 14, "num_register_tokens": 2},
        CROP,
        (28, 42, 9),
    ),
    "a size without a crop": (
        "dinov2",
        {"image_size": 70, "patch_size": 14},
        CROP | {"do_center_crop": False, "size": {"height": 42, "width": 28}},
        (42, 28, 7),
    ),
    "no size that is always the same": (
        "dinov2",
        {"image_size": 70, "patch_size": 14},
        CROP | {"do_center_crop": False},
        (70, 70, 26),
    ),
    "no step that makes a size": (
        "dinov2",
        {"image_size": 70, "patch_size": 14},
        CROP | {"do_center_crop": False, "do_resize": False},
        (70, 70, 26),
    ),
}


@pytest.mark.parametrize(("family", "config", "settings", "expected"), TOKENS.values(), ids=TOKENS)
def test_tokens_of_an_image(family, config, settings, expected, tmp_path):
    """Class tokens, registers and the grid of what is really computed are counted, as transformers has them."""
    settings = settings or {"image_processor_type": "ViTImageProcessor", "size": config["image_size"]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = model_images(tmp_path, config, FAMILIES[family], processor_file(tmp_path))
    assert (model.height, model.width, model.tokens) == expected
    if family != "siglip":
        tiny = transformers.AutoConfig.for_model(family, **{**TINY, **config})
        states = transformers.AutoModel.from_config(tiny)(torch.zeros(1, 3, *expected[:2])).last_hidden_state
        assert states.shape[1] == model.tokens


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
