"""Small models of each family, and adapters that are trained for them."""

import json

import peft
import torch
import transformers

from hf2triton.checkpoint.adapters.merge import merge_adapter
from hf2triton.checkpoint.adapters.source import find_adapter
from hf2triton.families import FAMILIES

#: model_type -> what transformers 4 called the modules of transformers 5, for merge_adapter.
RENAMED_MODULES = {name: family.renamed_modules for name, family in FAMILIES.items()} | {
    "clip_text_model": ((r"^", "text_model."),)
}
_TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_IDS = {"vocab_size": 40, "max_position_embeddings": 16}
_IMAGE = {**_TEXT, "image_size": 16, "patch_size": 8}
#: Its positions are resized from 3 x 3 to the 2 x 2 patches of the images below.
_DINOV2 = {**_IMAGE, "image_size": 24, "mlp_ratio": 2}
#: architecture -> its configuration, and the names of query and value in it.
MODELS = {
    "BertForSequenceClassification": ({**_TEXT, **_IDS, "num_labels": 3}, ["query", "value"]),
    "DistilBertForSequenceClassification": (
        {**_IDS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "num_labels": 3},
        ["q_lin", "v_lin"],
    ),
    "ViTForImageClassification": ({**_IMAGE, "num_labels": 3}, ["q_proj", "v_proj"]),
    "CLIPModel": (
        {"text_config": {**_TEXT, **_IDS, "eos_token_id": 39}, "vision_config": _IMAGE, "projection_dim": 12},
        ["q_proj", "v_proj"],
    ),
    "GPT2LMHeadModel": ({"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}, ["c_attn"]),
    "DeiTForImageClassificationWithTeacher": ({**_IMAGE, "num_labels": 3}, ["q_proj", "v_proj"]),
    "Dinov2ForImageClassification": ({**_DINOV2, "num_labels": 3}, ["q_proj", "v_proj"]),
    "Dinov2WithRegistersForImageClassification": (
        {**_DINOV2, "num_labels": 3, "use_swiglu_ffn": True},
        ["q_proj", "gate_proj"],
    ),
    "SiglipModel": ({"text_config": {**_TEXT, **_IDS}, "vision_config": _IMAGE}, ["q_proj", "v_proj"]),
}
BERT, DISTILBERT, VIT, CLIP, GPT2, *_ = MODELS
CONFIGS = {
    **{architecture: config for architecture, (config, _) in MODELS.items()},
    "BertModel": {**_TEXT, **_IDS},
    "BertForMaskedLM": {**_TEXT, **_IDS},
    "RobertaForSequenceClassification": {**_TEXT, **_IDS, "num_labels": 3},
}


def build(architecture, **changes):
    """A model in fp32 with random weights, the same at every call."""
    torch.manual_seed(0)
    kind = getattr(transformers, architecture)
    model = kind(kind.config_class(**{**CONFIGS[architecture], **changes}))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.2 if parameter.dim() > 1 else parameter.data
    return model.eval().requires_grad_(False)


def probe(model):
    """Every floating-point output that the families' tasks are made of."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 38, (2, 9), generator=generator)
    ids[:, -1] = 39
    pixels = torch.randn(2, 3, 16, 16, generator=generator)
    every = {"text": {"input_ids": ids}, "image": {"pixel_values": pixels}}
    family = FAMILIES.get(model.config.model_type)
    modalities = family.inputs if family else ("text",)
    outputs = model(**{name: tensor for modality in modalities for name, tensor in every[modality].items()})
    names = ("logits", "last_hidden_state", "text_embeds", "image_embeds")
    return [outputs[name] for name in names if name in outputs]


def train(folder, model, config):
    """Writes an adapter for a model; every number of it is drawn anew, so that none is at its start."""
    adapted = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(5)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.2
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def merge(model, folder, missing=(), renamed_modules=(), **options):
    return merge_adapter(model, find_adapter(folder, **options), renamed_modules, frozenset(missing), probe)


def edit(folder, **changes):
    """Changes settings of an adapter's config."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
