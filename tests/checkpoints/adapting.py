"""Makes adapters as peft's users do, changes their folders, and runs them as peft does."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .case import Equal, edited, without
from .judges import GREEDY

#: How the names of embeddings end.
TABLES = ("word_embeddings.weight", "wte.weight", "embed_tokens.weight", "token_embedding.weight")
PROCESSOR = "preprocessor_config.json"

#: The class of a base -> the class to load it with, the task, and peft's settings of an adapter for it.
BASES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "BertForSequenceClassification": (
        "AutoModelForSequenceClassification",
        "text-classification",
        {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]},
    ),
    "XLMRobertaForSequenceClassification": (
        "AutoModelForSequenceClassification",
        "text-classification",
        {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]},
    ),
    "GPT2LMHeadModel": (
        "AutoModelForCausalLM",
        "text-generation",
        {"task_type": "CAUSAL_LM", "target_modules": ["c_attn"], "fan_in_fan_out": True},
    ),
    "MPNetForSequenceClassification": (
        "AutoModelForSequenceClassification",
        "text-classification",
        {"task_type": "SEQ_CLS", "target_modules": ["q", "k", "v", "o"]},
    ),
    "DebertaV2ForSequenceClassification": (
        "AutoModelForSequenceClassification",
        "text-classification",
        {"task_type": "SEQ_CLS", "target_modules": ["query_proj", "key_proj", "value_proj"]},
    ),
    "ModernBertForMaskedLM": ("AutoModelForMaskedLM", "fill-mask", {"target_modules": ["Wqkv"]}),
    "GPTNeoForCausalLM": (
        "AutoModelForCausalLM",
        "text-generation",
        {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]},
    ),
    "OPTForCausalLM": (
        "AutoModelForCausalLM",
        "text-generation",
        {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]},
    ),
    "BertForMaskedLM": ("AutoModelForMaskedLM", "fill-mask", {"target_modules": ["query", "value"]}),
    "CamembertForMaskedLM": ("AutoModelForMaskedLM", "fill-mask", {"target_modules": ["query", "value"]}),
    "ViTForImageClassification": (
        "AutoModelForImageClassification",
        "image-classification",
        {"target_modules": ["q_proj"], "modules_to_save": ["classifier"]},
    ),
    "CLIPModel": ("CLIPModel", "zero-shot-image-classification", {"target_modules": ["q_proj"]}),
}
Change = Callable[[Path], Path | None]


def adapter(
    new: Sequence[str] = (), padded: int | None = None, save: Any = "auto", kind: str = "LoraConfig", **settings: Any
) -> Change:
    """An adapter beside the base, and its tokenizer with `new` tokens; every weight of it is random. Returns its folder.

    A setting that is a function is called with the new tokens' ids.
    """

    def change(base: Path) -> Path:
        import peft
        import torch
        import transformers

        torch.manual_seed(1)
        auto_class, _, given = _kind_of(base)
        start = {"init_lora_weights": False} if kind == "LoraConfig" else {}
        model = getattr(transformers, auto_class).from_pretrained(base, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(base) if has_tokenizer(base) else None
        if new:
            tokenizer.add_tokens(list(new))
            _owner(model).resize_token_embeddings(len(tokenizer), pad_to_multiple_of=padded)
        ids = tokenizer.convert_tokens_to_ids(list(new)) if new else []
        chosen = {
            name: value(ids) if callable(value) else value for name, value in {**given, **start, **settings}.items()
        }
        chosen = copy.deepcopy(chosen)  # peft adds to modules_to_save in place
        if kind != "LoraConfig":
            chosen.pop("fan_in_fan_out", None)
        adapted = peft.get_peft_model(model, getattr(peft, kind)(**chosen))
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn(parameter.shape) * 0.1
            elif name.endswith(TABLES) and new:
                parameter.data[ids] = torch.randn(len(ids), parameter.shape[1]) * 0.5
        folder = base.parent / "adapter"
        adapted.save_pretrained(folder, save_embedding_layers=save)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        return folder

    return change


def then(first: Change, *changes: Change) -> Change:
    """The adapter that `first` makes, its folder changed."""

    def change(base: Path) -> Path:
        folder = first(base)
        for own in changes:
            folder = own(folder) or folder
        return folder

    return change


def peft_pipeline(folder: Path) -> Callable[..., Any]:
    """transformers' pipeline of the base with its adapter on, as peft's users write it."""
    import peft
    import transformers

    config = json.loads((folder / "adapter_config.json").read_text())
    base = Path(config["base_model_name_or_path"])
    auto_class, task, _ = _kind_of(base)
    places = [folder if has_tokenizer(folder) else base, folder if (folder / PROCESSOR).exists() else base]
    model = getattr(transformers, auto_class).from_pretrained(base, dtype="float32")
    beside: dict[str, Any] = {}
    if (places[1] / PROCESSOR).exists():
        beside["image_processor"] = transformers.AutoImageProcessor.from_pretrained(places[1])
    if has_tokenizer(places[0]):
        beside["tokenizer"] = tokenizer = transformers.AutoTokenizer.from_pretrained(places[0])
        owner = _owner(model)
        size = _saved_rows(folder) or max(len(tokenizer), owner.config.vocab_size)
        if size != owner.config.vocab_size:
            owner.resize_token_embeddings(size)
    adapted = peft.PeftModel.from_pretrained(model, folder).eval()
    if (folder / "generation_config.json").exists():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    pipeline = transformers.pipeline(task, model=adapted.get_base_model(), device="cpu", **beside)
    if task == "text-generation":
        return lambda one, **options: pipeline(one, **GREEDY, **options)
    cut = {"truncation": True} if task == "text-classification" else {}
    return lambda one, **options: pipeline(str(one), **cut, **options)


def has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").exists()


def _kind_of(base: Path) -> tuple[str, str, Mapping[str, Any]]:
    [architecture] = json.loads((base / "config.json").read_text())["architectures"]
    return BASES[architecture]


def _owner(model: Any) -> Any:
    """The part with the embeddings of tokens."""
    return getattr(model, "text_model", model)


def sentences(base: Path) -> Path:
    """An adapter among the files that sentence-transformers writes, with pooling of its own."""
    import peft
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer, models

    torch.manual_seed(1)
    module = models.Transformer(str(base), max_seq_length=16)
    folder = base.parent / "adapter"
    SentenceTransformer(modules=[module, models.Pooling(64, pooling_mode="cls"), models.Normalize()]).save(str(folder))
    without("config.json", "model.safetensors")(folder)
    lora = peft.LoraConfig(task_type="FEATURE_EXTRACTION", target_modules=["query"], init_lora_weights=False)
    peft.get_peft_model(transformers.AutoModel.from_pretrained(base), lora).save_pretrained(folder)
    return folder


def encode(folder: Path) -> Callable[..., Any]:
    import peft
    from sentence_transformers import SentenceTransformer, models

    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    module = models.Transformer(base, max_seq_length=16)
    peft.PeftModel.from_pretrained(module.auto_model, folder).eval()
    return SentenceTransformer(
        modules=[module, models.Pooling(64, pooling_mode="cls"), models.Normalize()], device="cpu"
    ).encode


def own_processor(folder: Path) -> None:
    import transformers

    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    processor = transformers.AutoImageProcessor.from_pretrained(base)
    processor.image_mean, processor.image_std = [0.1] * 3, [0.9] * 3
    processor.save_pretrained(folder)


def drop(part: str) -> Callable[[dict[str, Any]], None]:
    """Takes the tensors out whose names contain `part`."""

    def change(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if part in name]:
            tensors.pop(name)

    return change


def _saved_rows(folder: Path) -> int | None:
    from safetensors.numpy import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    return next((len(own) for name, own in saved.items() if name.endswith(TABLES)), None)


def named(**values: Any) -> Change:
    return edited("adapter_config.json", **values)


def equal(inputs: Sequence[str], **options: Any) -> Equal:
    return Equal(inputs, options, judge=peft_pipeline)


def in_subfolders(base: Path) -> Path:
    folder = adapter()(base)
    for name in ("checkpoint-500", "checkpoint-1000"):
        shutil.copytree(folder, folder.parent / "run" / name)
    return folder.parent / "run"


def second_adapter(base: Path) -> Path:
    folder = adapter()(base)
    shutil.move(folder, folder.parent / "adapters" / "helpful")
    return folder.parent / "adapters"


def beside_base(first: Change) -> Change:
    """The adapter is made; the base is what is exported."""

    def change(base: Path) -> Path:
        first(base)
        return base

    return change


def base_gone(base: Path) -> Path:
    folder = adapter()(base)
    shutil.move(base, base.parent / "moved")
    return folder


def cut_short(name: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-200])

    return change


def adapter_weights(change: Callable[[dict[str, Any]], Any]) -> Change:
    def rewrite(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})

    return rewrite


def tokenizer_config(**values: Any) -> Change:
    return edited("tokenizer_config.json", **values)


def given_base(base: Path) -> Callable[..., Any]:
    """The judge of an adapter that names no base."""
    folder = base.parent / "adapter"
    edited("adapter_config.json", base_model_name_or_path=str(base))(folder)
    return peft_pipeline(folder)


def widened(tensors: dict[str, Any]) -> None:
    """A LoRA as of a base of 96 hidden units."""
    import numpy as np

    for name, array in tensors.items():
        if "lora_" in name:
            tensors[name] = np.resize(array, tuple(96 if size == 64 else size for size in array.shape))
