"""Writes tests/records/adapters: small adapters on small random models, and what they answer.

    python tests/records/record_adapters.py [CASE…]

Run it twice: first in an environment with transformers 4 (recorded: 4.57.6 and peft 0.18.0), which also writes the bases
with random weights, then with transformers 5 (recorded: 5.23.0 and peft 0.21.2). Both adapters of a case hold the same
numbers, each in the names of its version, and `expected.safetensors` beside them what that version answers with the
adapter switched on: inputs as `input.NAME`, outputs as `output.NAME`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

ADAPTERS = Path(__file__).parent / "adapters"
VERSION = int(transformers.__version__.partition(".")[0])

_TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_IMAGE = {**_TEXT, "image_size": 16, "patch_size": 8}
_DINOV2 = {**_IMAGE, "mlp_ratio": 2, "image_size": 24}
_DISTILBERT = {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}


@dataclass(frozen=True)
class Base:
    """A model to train on: its class, its configuration, and the inputs that it takes."""

    architecture: str
    config: Mapping[str, Any]
    inputs: Sequence[str]


@dataclass(frozen=True)
class Case:
    """An adapter. `lora`: its settings; `renamed`: those that are spelled otherwise for transformers 5."""

    base: str
    architecture: str
    outputs: Sequence[str]
    lora: Mapping[str, Any]
    renamed: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)


BASES = {
    "bert": Base("BertModel", {**_TEXT, "vocab_size": 40, "max_position_embeddings": 16}, ["input_ids"]),
    "distilbert": Base("DistilBertModel", {**_DISTILBERT, "max_position_embeddings": 16}, ["input_ids"]),
    "vit": Base("ViTModel", _IMAGE, ["pixel_values"]),
    "clip": Base(
        "CLIPModel",
        {
            "text_config": {**_TEXT, "vocab_size": 40, "max_position_embeddings": 16, "eos_token_id": 39},
            "vision_config": _IMAGE,
            "projection_dim": 12,
        },
        ["input_ids", "pixel_values"],
    ),
    "clip-text": Base("CLIPTextModel", {**_TEXT, "vocab_size": 40, "max_position_embeddings": 16}, ["input_ids"]),
    "deit": Base("DeiTModel", _IMAGE, ["pixel_values"]),
    "dinov2": Base("Dinov2Model", _DINOV2, ["pixel_values"]),
    "dinov2-registers": Base("Dinov2WithRegistersModel", {**_DINOV2, "use_swiglu_ffn": True}, ["pixel_values"]),
    "siglip": Base(
        "SiglipModel",
        {"text_config": {**_TEXT, "vocab_size": 40, "max_position_embeddings": 64}, "vision_config": _IMAGE},
        ["input_ids", "pixel_values"],
    ),
    "gpt2": Base(
        "GPT2LMHeadModel", {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}, ["input_ids"]
    ),
}

CASES = {
    "bert": Case(
        "bert",
        "BertForSequenceClassification",
        ["logits"],
        {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]},
        head={"num_labels": 3},
    ),
    "distilbert": Case(
        "distilbert",
        "DistilBertForTokenClassification",
        ["logits"],
        {"task_type": "TOKEN_CLS", "target_modules": ["q_lin", "v_lin", "lin1"], "use_rslora": True},
        head={"num_labels": 5},
    ),
    "vit": Case(
        "vit",
        "ViTForImageClassification",
        ["logits"],
        {
            "target_modules": ["query", "value", "dense"],
            "modules_to_save": ["classifier"],
            "rank_pattern": {"intermediate.dense": 3},
            "alpha_pattern": {r"layer\.1\.attention\.attention\.query": 16},
            "use_dora": True,
        },
        renamed={
            "target_modules": ["q_proj", "v_proj", "o_proj", "fc1", "fc2"],
            "rank_pattern": {"fc1": 3},
            "alpha_pattern": {r"layers\.1\.attention\.q_proj": 16},
        },
        head={"num_labels": 4},
    ),
    "vit-expression": Case(
        "vit",
        "ViTForImageClassification",
        ["logits"],
        {
            "target_modules": r".*encoder\.layer\.1\.attention\.attention\.(query|key)",
            "modules_to_save": ["classifier", "layernorm_before"],
        },
        renamed={"target_modules": r".*\.layers\.1\.attention\.(q_proj|k_proj)"},
        head={"num_labels": 4},
    ),
    "vit-layers": Case(
        "vit",
        "ViTModel",
        ["last_hidden_state"],
        {
            "target_modules": ["query", "dense"],
            "exclude_modules": ["output.dense"],
            "layers_to_transform": [1],
            "layers_pattern": "layer",
        },
        renamed={"target_modules": ["q_proj", "fc1"], "exclude_modules": ["fc2"], "layers_pattern": "layers"},
    ),
    "clip": Case(
        "clip",
        "CLIPModel",
        ["text_embeds", "image_embeds", "logits_per_image"],
        {"target_modules": ["q_proj", "v_proj", "visual_projection"]},
    ),
    "clip-text": Case(
        "clip-text",
        "CLIPTextModel",
        ["last_hidden_state"],
        {"target_modules": r"text_model\.encoder\.layers\.\d+\.self_attn\.q_proj"},
        renamed={"target_modules": r"encoder\.layers\.\d+\.self_attn\.q_proj"},
    ),
    "deit": Case(
        "deit",
        "DeiTForImageClassification",
        ["logits"],
        {"target_modules": ["query", "value", "dense"], "modules_to_save": ["classifier"]},
        renamed={"target_modules": ["q_proj", "v_proj", "o_proj", "fc1", "fc2"]},
        head={"num_labels": 4},
    ),
    "dinov2": Case(
        "dinov2",
        "Dinov2ForImageClassification",
        ["logits"],
        {"target_modules": ["query", "value", "dense", "fc1"], "modules_to_save": ["classifier"]},
        renamed={"target_modules": ["q_proj", "v_proj", "o_proj", "fc1"]},
        head={"num_labels": 4},
    ),
    "dinov2-registers": Case(
        "dinov2-registers",
        "Dinov2WithRegistersModel",
        ["last_hidden_state"],
        {"target_modules": ["key", "value", "weights_out"]},
        renamed={"target_modules": ["k_proj", "v_proj", "down_proj"]},
    ),
    "siglip": Case(
        "siglip",
        "SiglipModel",
        ["text_embeds", "image_embeds", "logits_per_image"],
        {"target_modules": ["q_proj", "v_proj", "fc1"]},
    ),
    "gpt2": Case(
        "gpt2",
        "GPT2LMHeadModel",
        ["logits"],
        {"task_type": "CAUSAL_LM", "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    ),
}


def inputs_of(base: Base) -> dict[str, torch.Tensor]:
    """Two rows of every input of a base."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, 38, (2, 9), generator=generator)
    ids[:, -1] = 39  # CLIP takes the embedding of the end of the text
    every = {"input_ids": ids, "pixel_values": torch.randn(2, 3, 16, 16, generator=generator)}
    return {name: every[name] for name in base.inputs}


def write_base(name: str, base: Base) -> None:
    """A base with random weights, larger than transformers starts them so that every layer matters."""
    architecture = getattr(transformers, base.architecture)
    torch.manual_seed(0)
    model = architecture(architecture.config_class(**base.config))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    folder = ADAPTERS / "bases" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def write_adapter(name: str, case: Case) -> None:
    """An adapter whose trained parameters are drawn from one seed, in the order of the modules."""
    model = getattr(transformers, case.architecture).from_pretrained(ADAPTERS / "bases" / case.base, **case.head)
    model.name_or_path = f"tests/tiny-{case.base}"
    settings = {**case.lora, **(case.renamed if VERSION >= 5 else {})}
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, **settings)).eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            # DoRA's magnitudes and the scales of norms lie near 1; where all of them were 0.3, little would be left
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + 0.8 * (parameter.dim() == 1)
    folder = ADAPTERS / name / f"transformers-{VERSION}"
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:  # without the model card that peft writes as well
        adapted.save_pretrained(temporary)
        folder.mkdir(parents=True)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(Path(temporary) / file, folder / file)
    inputs = inputs_of(BASES[case.base])
    with torch.no_grad():
        outputs = adapted(**inputs)
    expected = {f"input.{key}": tensor for key, tensor in inputs.items()}
    expected |= {f"output.{key}": outputs[key].contiguous().clone() for key in case.outputs}
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(CASES)
    if VERSION < 5:
        for base_name in dict.fromkeys(CASES[case_name].base for case_name in chosen):
            write_base(base_name, BASES[base_name])
    for case_name in chosen:
        write_adapter(case_name, CASES[case_name])
