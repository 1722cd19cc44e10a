"""Adapters, and what lies in their folders. The judge is peft: the adapter on the base, with the adapter's own tokenizer."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..support import ASSETS
from .case import Case, Equal, Refused, edited, without
from .judges import GREEDY

#: How the names of embeddings end.
TABLES = ("word_embeddings.weight", "wte.weight", "token_embedding.weight")
PROCESSOR = "preprocessor_config.json"

#: The class of a base -> the class to load it with, the task, and peft's settings of an adapter for it.
BASES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "BertForSequenceClassification": (
        "AutoModelForSequenceClassification",
        "text-classification",
        {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]},
    ),
    "GPT2LMHeadModel": (
        "AutoModelForCausalLM",
        "text-generation",
        {"task_type": "CAUSAL_LM", "target_modules": ["c_attn"], "fan_in_fan_out": True},
    ),
    "BertForMaskedLM": ("AutoModelForMaskedLM", "fill-mask", {"target_modules": ["query", "value"]}),
    "ViTForImageClassification": (
        "AutoModelForImageClassification",
        "image-classification",
        {"target_modules": ["q_proj"], "modules_to_save": ["classifier"]},
    ),
    "CLIPModel": ("CLIPModel", "zero-shot-image-classification", {"target_modules": ["q_proj"]}),
}
NEW = ("<user>", "<code>")
TEXTS = ["It was great!", "<user> It was awful <code>, a waste <user> of money.", "ok"]
PROMPTS = ["And the king <user> said", "<code>In the beginning"]
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


def _sentences(base: Path) -> Path:
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


def _encode(folder: Path) -> Callable[..., Any]:
    import peft
    from sentence_transformers import SentenceTransformer, models

    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    module = models.Transformer(base, max_seq_length=16)
    peft.PeftModel.from_pretrained(module.auto_model, folder).eval()
    return SentenceTransformer(
        modules=[module, models.Pooling(64, pooling_mode="cls"), models.Normalize()], device="cpu"
    ).encode


def _own_processor(folder: Path) -> None:
    import transformers

    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    processor = transformers.AutoImageProcessor.from_pretrained(base)
    processor.image_mean, processor.image_std = [0.1] * 3, [0.9] * 3
    processor.save_pretrained(folder)


def _drop(part: str) -> Callable[[dict[str, Any]], None]:
    """Takes the tensors out whose names contain `part`."""

    def change(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if part in name]:
            tensors.pop(name)

    return change


def _saved_rows(folder: Path) -> int | None:
    from safetensors.numpy import load_file

    saved = load_file(folder / "adapter_model.safetensors")
    return next((len(own) for name, own in saved.items() if name.endswith(TABLES)), None)


def _named(**values: Any) -> Change:
    return edited("adapter_config.json", **values)


def _equal(inputs: Sequence[str], **options: Any) -> Equal:
    return Equal(inputs, options, judge=peft_pipeline)


def _in_subfolders(base: Path) -> Path:
    folder = adapter()(base)
    for name in ("checkpoint-500", "checkpoint-1000"):
        shutil.copytree(folder, folder.parent / "run" / name)
    return folder.parent / "run"


def _second_adapter(base: Path) -> Path:
    folder = adapter()(base)
    shutil.move(folder, folder.parent / "adapters" / "helpful")
    return folder.parent / "adapters"


def _beside_base(first: Change) -> Change:
    """The adapter is made; the base is what is exported."""

    def change(base: Path) -> Path:
        first(base)
        return base

    return change


def _base_gone(base: Path) -> Path:
    folder = adapter()(base)
    shutil.move(base, base.parent / "moved")
    return folder


def _cut(name: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-200])

    return change


def _weights(change: Callable[[dict[str, Any]], Any]) -> Change:
    def rewrite(folder: Path) -> None:
        from safetensors.numpy import load_file, save_file

        path = folder / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, {"format": "pt"})

    return rewrite


def _tokenizer(**values: Any) -> Change:
    return edited("tokenizer_config.json", **values)


BERT, GPT2 = "bert-sentiment", "gpt2-verses"
ALL = {"top_k": None}
EMBEDDING = ["word_embeddings"]
HERE = {"adapter": "{folder}/../adapter"}
LONG = "It was great! " * 80 + "But in the end it was awful, a waste of money."
_MISSING = (
    "'<user>' (3000)",
    "'<code>' (3001)",
    "would be random",
    "save_embedding_layers=True",
    "trainable_token_indices",
)

CASES = (
    # its tokenizer, and a vocabulary that grew
    Case("adapter: resized base, embeddings saved", BERT, adapter(NEW), _equal(TEXTS, **ALL)),
    Case("adapter: padded vocabulary", BERT, adapter(NEW, padded=64), _equal(TEXTS, **ALL)),
    Case("adapter: embeddings in modules_to_save", BERT, adapter(NEW, modules_to_save=EMBEDDING), _equal(TEXTS, **ALL)),
    Case(
        "adapter: trained tokens",
        BERT,
        adapter(NEW, save=False, trainable_token_indices=lambda ids: {"word_embeddings": [7, *ids]}),
        _equal(TEXTS, **ALL),
    ),
    Case(
        "adapter: nothing but trained tokens",
        BERT,
        adapter(NEW, kind="TrainableTokensConfig", token_indices=lambda ids: ids, target_modules=EMBEDDING),
        _equal(TEXTS, **ALL),
    ),
    Case(
        "adapter: LoRA on embeddings",
        BERT,
        adapter(target_modules=["query", "word_embeddings"]),
        _equal(TEXTS, **ALL),
    ),
    Case("adapter: embeddings saved, none new", BERT, adapter(save=True), _equal(TEXTS, **ALL)),
    Case("adapter: resized GPT-2", GPT2, adapter(NEW), _equal(PROMPTS)),
    Case(
        "adapter: GPT-2's embeddings and head saved",
        GPT2,
        adapter(NEW, modules_to_save=["wte", "lm_head"]),
        _equal(PROMPTS),
    ),
    Case(
        "adapter: GPT-2's embeddings saved and tied",
        GPT2,
        adapter(NEW, modules_to_save=["wte"], ensure_weight_tying=True),
        _equal(PROMPTS),
    ),
    Case(
        "adapter: GPT-2's trained tokens",
        GPT2,
        adapter(NEW, save=False, trainable_token_indices=lambda ids: ids),
        _equal(PROMPTS),
    ),
    Case("adapter: new tokens without embeddings", BERT, adapter(NEW, save=False), Refused(_MISSING)),
    Case(
        "adapter: LoRA on resized embeddings",
        BERT,
        adapter(NEW, target_modules=["query", "word_embeddings"]),
        _equal(TEXTS, **ALL),
    ),
    Case(
        "adapter: LoRA on embeddings with random rows",
        BERT,
        adapter(NEW, save=False, target_modules=["query", "word_embeddings"]),
        Refused(_MISSING),
    ),
    Case(
        "adapter: one of two new tokens trained",
        BERT,
        adapter(NEW, save=False, trainable_token_indices=lambda ids: {"word_embeddings": ids[1:]}),
        Refused(("'<user>' (3000)", "would be random")),
    ),
    Case(
        "adapter: more tokens than saved rows",
        BERT,
        then(
            adapter(NEW),
            _weights(lambda own: own.update({name: array[:3001] for name, array in own.items() if len(array) == 3002})),
        ),
        Refused(("3002 tokens", "3001 rows", "'<code>' (3001)")),
    ),
    Case(
        "adapter: saved rows, tokenizer of the base",
        BERT,
        then(adapter(NEW), without("tok*")),
        _equal([TEXTS[0]], **ALL),
    ),
    Case(
        "adapter: another limit and truncation side",
        BERT,
        then(adapter(), _tokenizer(model_max_length=32, truncation_side="left")),
        _equal([LONG], **ALL),
    ),
    Case(
        "adapter: cased",
        BERT,
        then(adapter(), _tokenizer(do_lower_case=False)),
        _equal(["It Was GREAT!"], **ALL),
    ),
    Case(
        "adapter: its generation config",
        GPT2,
        then(adapter(), edited("generation_config.json", repetition_penalty=1.9, eos_token_id=0)),
        _equal(PROMPTS),
    ),
    Case(
        "adapter: GPT-2's embeddings saved without the head",
        GPT2,
        adapter(NEW, modules_to_save=["wte"]),
        _equal(PROMPTS),
    ),
    Case("adapter: sentence-transformers", "bert-mlm", _sentences, Equal(TEXTS, judge=_encode)),
    Case("adapter: masked words, resized", "bert-mlm", adapter(NEW), _equal(["It was <user> [MASK] great."])),
    Case(
        "adapter: masked words, saved without the output",
        "bert-mlm",
        then(adapter(NEW), _weights(_drop("decoder"))),
        _equal(["It was <user> [MASK] great."]),
    ),
    Case(
        "adapter: CLIP with a new token",
        "clip-fashion",
        adapter(NEW, save=False, modules_to_save=["token_embedding"]),
        Equal(
            [ASSETS / "vit-fashion" / "sample" / "00.png"],
            {"candidate_labels": ["a <user>", "coat"]},
            judge=peft_pipeline,
        ),
    ),
    Case(
        "adapter: its own image processor",
        "vit-fashion",
        then(adapter(), _own_processor),
        Equal([ASSETS / "vit-fashion" / "sample" / "00.png"], judge=peft_pipeline),
    ),
    # where it lies, and its base
    Case(
        "adapter: checkpoints in subfolders",
        BERT,
        _in_subfolders,
        Refused(("2 adapters", "checkpoint-500, checkpoint-1000", "run/checkpoint-1000")),
    ),
    Case(
        "adapter: adapters in subfolders, as an option",
        BERT,
        _beside_base(_second_adapter),
        Refused(("1 adapters", "helpful", "adapters/helpful")),
        {"adapter": "{folder}/../adapters"},
    ),
    Case(
        "adapter: no such folder", BERT, lambda base: None, Refused(("there is no", "nowhere")), {"adapter": "nowhere"}
    ),
    Case(
        "adapter: its base is gone",
        BERT,
        _base_gone,
        Refused(("there is no folder", "adapter_config.json names", "as SOURCE", "--adapter", "--base-name")),
    ),
    Case(
        "adapter: its base is not in the cache",
        BERT,
        then(adapter(), _named(base_model_name_or_path="someone/bert-sentiment")),
        Refused(("someone/bert-sentiment", "adapter_config.json names", "as SOURCE", "--adapter", "--base-name")),
    ),
    *(
        Case(
            f"adapter: base {value!r}",
            BERT,
            then(adapter(), _named(base_model_name_or_path=value)),
            Refused(("names no base", "give the base as SOURCE", "--adapter")),
        )
        for value in (None, "")
    ),
    Case(
        "adapter: null base, given beside it",
        BERT,
        _beside_base(then(adapter(NEW), _named(base_model_name_or_path=None))),
        Equal(TEXTS, ALL, judge=lambda base: _given_base(base)),
        HERE,
    ),
    Case("adapter: revision of a folder", BERT, then(adapter(), _named(revision="main")), _equal(TEXTS, **ALL)),
    # what does not fit
    Case(
        "adapter: another width",
        BERT,
        _beside_base(then(adapter(), _named(base_model_name_or_path=None), _weights(lambda own: _widened(own)))),
        Refused(("does not fit", "attention.self.query", "[96, 96]", "[64, 64]")),
        HERE,
    ),
    Case(
        "adapter: another architecture",
        BERT,
        _beside_base(then(adapter(), _named(base_model_name_or_path=None, task_type="CAUSAL_LM"))),
        Refused(("trained for CAUSAL_LM (text-generation)", "bert model")),
        HERE,
    ),
    Case(
        "adapter: another task",
        BERT,
        adapter(),
        Refused(("trained for text-classification (SEQ_CLS)", "no trained head for token-classification")),
        {"task": "token-classification"},
    ),
    Case(
        "adapter: cut short",
        BERT,
        then(adapter(), _cut("adapter_model.safetensors")),
        Refused(("corrupt or was cut short",)),
    ),
    Case(
        "adapter: half a LoRA",
        BERT,
        then(adapter(), _weights(lambda own: own.pop(next(name for name in own if "lora_B" in name)))),
        Refused(("lacks weights", "lora_B.weight")),
    ),
    Case(
        "adapter: head of three, two labels",
        BERT,
        then(adapter(), edited("config.json", id2label={"0": "no", "1": "yes"})),
        Refused(("names 2 labels", "head has 3")),
    ),
    # how it was made
    Case(
        "adapter: PiSSA of a random search",
        BERT,
        then(adapter(), _named(init_lora_weights="pissa_niter_4")),
        Refused(("init_lora_weights is 'pissa_niter_4'", "path_initial_model_for_weight_conversion")),
    ),
    Case(
        "adapter: AdaLoRA whose ranks were cut",
        BERT,
        adapter(kind="AdaLoraConfig", total_step=10, rank_pattern=None),
        _equal(TEXTS[:1], **ALL),
    ),
    *(
        Case(f"adapter: {name}", BERT, adapter(**settings), _equal(TEXTS[:1], **ALL))
        for name, settings in {
            "PiSSA": {"init_lora_weights": "pissa"},
            "OLoRA": {"init_lora_weights": "olora"},
            "biases of all": {"bias": "all"},
            "a bias of LoRA's own": {"lora_bias": True},
            "ranks and alphas by pattern": {
                "rank_pattern": {"query": 2},
                "alpha_pattern": {"value": 3},
                "use_rslora": True,
            },
            "one layer, DoRA": {"layers_to_transform": [1], "use_dora": True},
            "a parameter": {"target_modules": [], "target_parameters": ["attention.self.query.weight"]},
        }.items()
    ),
)


def _given_base(base: Path) -> Callable[..., Any]:
    """The judge of an adapter that names no base."""
    folder = base.parent / "adapter"
    edited("adapter_config.json", base_model_name_or_path=str(base))(folder)
    return peft_pipeline(folder)


def _widened(tensors: dict[str, Any]) -> None:
    """A LoRA as of a base of 96 hidden units."""
    import numpy as np

    for name, array in tensors.items():
        if "lora_" in name:
            tensors[name] = np.resize(array, tuple(96 if size == 64 else size for size in array.shape))
