"""Vision models whose images, positions and class tokens differ from ViT's, and SigLIP's two towers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case, Equal, Refused, all_of, config, edited, weights
from .images import CONFIG, LARGE, NAMED, PROCESSOR, SMALL, of_grey, one_channel, processor, vision

DEIT, DINOV2, REGISTERS, SIGLIP = "deit-fashion", "dinov2-fashion", "dinov2-registers-fashion", "siglip-fashion"
TOKENIZER = "tokenizer_config.json"
FEATURES = {"task": "image-feature-extraction"}
ALL = {"top_k": None}
PATCHES = "vision_model.embeddings.patch_embedding.weight"


def _one_head(tensors: dict[str, np.ndarray]) -> None:
    """The class token's head alone, under the name that it has then."""
    for part in ("weight", "bias"):
        tensors[f"classifier.{part}"] = tensors.pop(f"cls_classifier.{part}")
        del tensors[f"distillation_classifier.{part}"]


def _narrow_positions(tensors: dict[str, np.ndarray]) -> None:
    """The positions of 7 x 4 patches of the 7 x 7, after those of both class tokens."""
    table = tensors["deit.embeddings.position_embeddings"]
    grid = table[:, 2:].reshape(1, 7, 7, -1)[:, :, :4]
    tensors["deit.embeddings.position_embeddings"] = np.concatenate([table[:, :2], grid.reshape(1, 28, -1)], axis=1)


def _for_masked_images(tensors: dict[str, np.ndarray]) -> None:
    hidden = tensors["deit.embeddings.cls_token"].shape[-1]
    for name in [name for name in tensors if "classifier" in name]:
        del tensors[name]
    tensors["deit.embeddings.mask_token"] = np.ones((1, 1, hidden), np.float32)
    tensors["decoder.0.weight"] = np.ones((16 * 16 * 3, hidden, 1, 1), np.float32)
    tensors["decoder.0.bias"] = np.ones(16 * 16 * 3, np.float32)


def _as_transformers_4(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Under its names, and with both halves of gated layers as one weight."""
    names = {
        ".attention.q_proj.": ".attention.attention.query.",
        ".attention.k_proj.": ".attention.attention.key.",
        ".attention.v_proj.": ".attention.attention.value.",
        ".attention.o_proj.": ".attention.output.dense.",
        ".mlp.down_proj.": ".mlp.weights_out.",
    }
    result = {}
    for name, array in tensors.items():
        if ".up_proj." in name:
            continue
        if ".gate_proj." in name:
            other = tensors[name.replace("gate_proj", "up_proj")]
            result[name.replace("gate_proj", "weights_in")] = np.concatenate([array, other])
            continue
        for new, old in names.items():
            name = name.replace(new, old)
        result[name] = array
    return result


def _without_bias(tensors: dict[str, np.ndarray]) -> None:
    del tensors["logit_bias"]


def _few_positions(folder: Path) -> None:
    content = json.loads((folder / CONFIG).read_text("utf-8"))
    content["text_config"]["max_position_embeddings"] = 32
    (folder / CONFIG).write_text(json.dumps(content), "utf-8")
    table = "text_model.embeddings.position_embedding.weight"
    weights(lambda tensors: tensors.update({table: tensors[table][:32]}))(folder)


def _as_gemma(folder: Path) -> None:
    """A tokenizer as SigLIP 2's: Gemma's byte pairs, and a padding token of its own."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz.!", "▁a", "oo"]
    merges = [("▁", "a"), ("o", "o")]
    vocabulary = {token: number for number, token in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.add_special_tokens(letters[:4])
    tokenizer.save(str(folder / "tokenizer.json"))
    content = {
        "tokenizer_class": "GemmaTokenizerFast",
        "add_bos_token": False,
        "add_eos_token": True,
        "padding_side": "right",
        "model_input_names": ["input_ids"],
        **{f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")},
    }
    (folder / TOKENIZER).write_text(json.dumps(content), "utf-8")


def _beside_the_model(folder: Path) -> None:
    """The image processor inside the processor of texts and images, as transformers 5 saves it."""
    inner = json.loads((folder / PROCESSOR).read_text("utf-8"))
    (folder / PROCESSOR).unlink()
    content = {"image_processor": inner, "processor_class": "SiglipProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(content), "utf-8")


def _equal(name: str, asset: str, *changes: Callable[[Path], Any], task: str | None = None, **more: Any) -> Case:
    options = {"options": NAMED} if asset == SIGLIP else {}
    inputs = more.pop("inputs", LARGE)
    return Case(name, asset, all_of(*changes), Equal(inputs, **{**options, **more}), {"task": task} if task else {})


def _refused(name: str, asset: str, change: Callable[[Path], Any], *words: str, early: bool = True) -> Case:
    return Case(name, asset, change, Refused(words, early=early))


CASES: tuple[Case, ...] = (
    _equal("DINOv2 with a crop that is not square", DINOV2, processor(crop_size={"height": 20, "width": 28})),
    _equal("SigLIP that is padded on the left", SIGLIP, edited(TOKENIZER, padding_side="left")),
    _equal("DeiT with one head", DEIT, config(architectures=["DeiTForImageClassification"]), weights(_one_head)),
    _equal("DINOv2 of transformers 4, gated, with registers", REGISTERS, weights(_as_transformers_4)),
    _equal("SigLIP with SigLIP 2's tokenizer", SIGLIP, _as_gemma),
    _equal("DINOv2 with a larger crop than it was trained with", DINOV2, processor(size=64, crop_size=56)),
    _equal("DINOv2 whose patches leave a rest", REGISTERS, processor(crop_size=[30, 31])),
    _equal("DINOv2 that resizes to a fixed size", DINOV2, processor(do_center_crop=False, size=[24, 36])),
    _equal(
        "DINOv2 with the shortest edge and no crop",
        DINOV2,
        processor(do_center_crop=False, size={"shortest_edge": 40}),
        inputs=SMALL,
    ),
    _equal("DINOv2 at its own size", REGISTERS, processor(size=40, crop_size=40)),
    _equal(
        "the pooled features of a DINOv2 with registers",
        REGISTERS,
        task="image-feature-extraction",
        inputs=LARGE[:2],
        options={"pool": True},
    ),
    _equal(
        "the features of a DINOv2 without its head",
        DINOV2,
        config(architectures=["Dinov2Model"]),
        weights(lambda tensors: {name[7:]: array for name, array in tensors.items() if name.startswith("dinov2.")}),
        inputs=LARGE[:2],
    ),
    _equal(
        "DeiT that is not square",
        DEIT,
        config(image_size=[28, 16]),
        processor(size=[32, 32], crop_size=[28, 16]),
        weights(_narrow_positions),
    ),
    _equal("DeiT without a crop", DEIT, processor(do_center_crop=False, size=28)),
    _equal(
        "DeiT for masked images",
        DEIT,
        config(architectures=["DeiTForMaskedImageModeling"]),
        weights(_for_masked_images),
        inputs=LARGE[:2],
    ),
    _equal("DeiT with ViT's processor", DEIT, processor(image_processor_type="ViTImageProcessor", size=28)),
    _equal("SigLIP whose patches leave a rest", SIGLIP, vision(image_size=30), processor(size=[30, 30])),
    _equal("SigLIP with its processor inside another", SIGLIP, _beside_the_model),
    _equal(
        "SigLIP with one channel",
        SIGLIP,
        vision(num_channels=1),
        processor(do_convert_rgb=False, image_mean=0.5, image_std=0.5),
        one_channel(PATCHES),
        judge=of_grey(SIGLIP, image_mean=[0.5] * 3, image_std=[0.5] * 3),
    ),
    _equal("SigLIP that cuts on the left", SIGLIP, edited(TOKENIZER, truncation_side="left")),
    _refused("SigLIP without a bias", SIGLIP, weights(_without_bias), "logit_bias", "would be random", early=False),
    _refused(
        "SigLIP with a mask",
        SIGLIP,
        edited(TOKENIZER, model_input_names=["input_ids", "attention_mask"]),
        "attention_mask",
        TOKENIZER,
        early=False,
    ),
    _refused("SigLIP with few positions", SIGLIP, _few_positions, "32 positions", "64 tokens", early=False),
    _refused("SigLIP with a list for its size", SIGLIP, vision(image_size=[28, 28]), CONFIG, "[28, 28]", "one number"),
    _refused(
        "SigLIP with a crop of another size", SIGLIP, processor(do_center_crop=True, crop_size=24), PROCESSOR, "28"
    ),
    _refused(
        "DINOv2 whose positions are no square",
        DINOV2,
        config(image_size=[40, 28]),
        CONFIG,
        "10 x 7 positions",
        "not a square",
    ),
    _refused(
        "DINOv2 with a crop below a patch", DINOV2, processor(crop_size=3), PROCESSOR, "3 x 3", "patch_size 4 x 4"
    ),
    _refused("DeiT with a crop of another size", DEIT, processor(crop_size=32), PROCESSOR, "32", CONFIG, "28 x 28"),
    _refused(
        "DeiT without a trained head",
        DEIT,
        weights(lambda tensors: {name: array for name, array in tensors.items() if "classifier" not in name}),
        "classifier.weight",
        "would be random",
    ),
)
