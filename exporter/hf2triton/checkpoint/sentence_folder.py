"""Reads a sentence-transformers folder: its modules in order, its prompts, and how embeddings are compared.

Reads it as `SentenceTransformer` of sentence-transformers 6 does, in the layout of that version and of earlier ones. A setting
that would change an embedding and cannot be served raises an error that names it. Reads only JSON and the headers of safetensors
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.embedding import DEFAULT_PROMPTS, SIMILARITIES, Layer, Pooling, SentenceFolder
from ..core.json_files import read_json, read_object
from ..core.source import SentenceModule
from ..errors import SourceError
from .sentence_layers import LAYERS

MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"
#: Flag in files from before version 6 -> the pooling mode that it sets, in the order of concatenation.
POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: The files that may hold the Transformer module's settings; the first non-empty file counts.
_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


def read_modules(folder: Path) -> tuple[SentenceModule, ...]:
    """The modules of a sentence-transformers folder, in order; none for any other folder.

    The first module is always a Transformer. Raises SourceError.
    """
    path = folder / MODULES
    if not path.exists():
        return ()
    entries = read_json(path, "")
    try:
        modules = tuple(_module(path, entry["type"], entry["path"]) for entry in entries)
    except (TypeError, KeyError, AttributeError):
        raise SourceError(f"{path} is not a list of modules, each with a 'type' and a 'path'") from None
    if not modules or modules[0].kind != "Transformer":
        first = f"begins with {modules[0].kind}" if modules else "lists no modules"
        raise SourceError(f"{path} {first}; models that begin with a Transformer can be exported")
    return modules


def _module(path: Path, kind: str, place: str) -> SentenceModule:
    if not kind.startswith("sentence_transformers."):
        raise SourceError(f"{path} asks for the custom module {kind}; code that comes with a model is never run")
    if Path(place).is_absolute() or ".." in Path(place).parts:
        raise SourceError(f"{path} places {kind} at {place!r}, which is outside of the folder")
    return SentenceModule(kind.rsplit(".", 1)[-1], place)


def read_sentence_folder(folder: Path, config: Mapping[str, Any], allow_pickle: bool = False) -> SentenceFolder:
    """All that the folder says. `config`: the content of the model's config.json. For a plain checkpoint, returns what
    sentence-transformers does with it: the mean of all tokens, without prompts.

    Raises SourceError for what cannot be served, and WeightsError for layers whose weights do not fit.
    """
    modules = read_modules(folder)
    if not modules:
        return SentenceFolder()
    settings = _settings(folder / CONFIG)
    kinds = [module.kind for module in modules]
    if kinds[1:2] != ["Pooling"]:
        raise SourceError(_foreign(folder, kinds[1:2] or ["Transformer"], "must be followed by Pooling"))
    unknown = [kind for kind in kinds[2:] if kind not in LAYERS]
    if unknown:
        raise SourceError(_foreign(folder, unknown, f"after Pooling can come {', '.join(LAYERS)}"))
    modes, include_prompt = _pooling(folder / modules[1].path / "config.json")
    width = config.get("hidden_size") or config.get("dim")
    width = width * len(modes) if isinstance(width, int) else None
    layers: list[Layer] = []
    for module in modules[2:]:
        layer, width = LAYERS[module.kind](folder / module.path, width, allow_pickle)
        layers += [] if layer is None else [layer]
    prompts, default = _prompts(folder / CONFIG, settings)
    max_length, lower_case = _transformer(folder / modules[0].path)
    truncate_dim = _positive(folder / CONFIG, settings, "truncate_dim")
    return SentenceFolder(
        Pooling(modes, include_prompt, tuple(layers), truncate_dim),
        prompts,
        default,
        settings.get("similarity_fn_name") or SIMILARITIES[0],
        max_length,
        lower_case,
    )


def _foreign(folder: Path, kinds: list[str], why: str) -> str:
    return (
        f"{folder / MODULES} has modules that cannot be exported: {', '.join(kinds)} ({why});"
        " --task serves the Transformer alone, as transformers' pipeline does"
    )


def _settings(path: Path) -> dict[str, Any]:
    """The content of config_sentence_transformers.json. Keys that SentenceTransformer ignores are ignored here too."""
    settings = read_object(path)
    kind = settings.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise SourceError(
            f"{path} describes a {kind}, and sentence-similarity serves a SentenceTransformer;"
            " --task serves its Transformer alone, as transformers' pipeline does"
        )
    similarity = settings.get("similarity_fn_name")
    if similarity is not None and similarity not in SIMILARITIES:
        raise SourceError(
            f"{path} compares embeddings by {similarity!r} (similarity_fn_name); known are {', '.join(SIMILARITIES)}"
        )
    return settings


def _prompts(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    """The prompts by name, and the name of the default prompt."""
    given, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(given, dict) or not all(text is None or isinstance(text, str) for text in given.values()):
        raise SourceError(f"prompts in {path} should be texts by their names, not {given!r:.80}")
    prompts = {**DEFAULT_PROMPTS, **{name: text or "" for name, text in given.items()}}
    if default is not None and default not in prompts:
        raise SourceError(f"{path} has no prompt {default!r} (default_prompt_name); it has {', '.join(prompts)}")
    return prompts, default


def _pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    """A Pooling module's modes, and whether a prompt's tokens count."""
    if not path.exists():
        raise SourceError(f"{path} is missing, which says how the model pools")
    settings = read_object(path)
    known = {"word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt", *POOLING_MODES}
    _require_known(path, settings, known)
    flags = [mode for flag, mode in POOLING_MODES.items() if settings.get(flag)]
    asked = settings.get("pooling_mode", flags or "mean")
    modes = [asked] if isinstance(asked, str) else asked
    if not isinstance(modes, list) or not modes or not set(map(str, modes)) <= set(POOLING_MODES.values()):
        raise SourceError(f"{path} asks for the pooling {asked}; known are {', '.join(POOLING_MODES.values())}")
    return tuple(modes), bool(settings.get("include_prompt", True))


#: Settings of the Transformer module that do not change what the model computes in fp32.
_WITHOUT_EFFECT = {
    "model": {"attn_implementation", "device_map", "dtype", "low_cpu_mem_usage", "torch_dtype", "use_safetensors"},
    "processor": {"use_fast"},
    "config": set(),
}
#: Key of sentence_bert_config.json -> the values that can be served. None is the same as no key.
_SERVED_ONLY: Mapping[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "modality_config": tuple(
        {"text": {"method": "forward", "method_output_name": name}}
        for name in ("last_hidden_state", ["last_hidden_state"])
    ),
    "processing_kwargs": ({},),
    "query_length": (),
    "document_length": (),
    "query_expansion": (),
    "tokenizer_name_or_path": (),
}


def _transformer(folder: Path) -> tuple[int | None, bool]:
    """The Transformer module's longest sequence, and whether it lower-cases texts. Raises SourceError."""
    path = next((folder / name for name in _TRANSFORMER_CONFIGS if read_object(folder / name)), folder / "none")
    settings = read_object(path)
    arguments: dict[str, dict[str, Any]] = {}
    for kind, old in (("model", "model_args"), ("processor", "tokenizer_args"), ("config", "config_args")):
        # if both exist, the old name counts
        key = old if old in settings else f"{kind}_kwargs"
        arguments[kind] = dict(settings.get(key) or {})
        arguments[kind].pop("trust_remote_code", None)
        unknown = sorted(set(arguments[kind]) - _WITHOUT_EFFECT[kind] - {"model_max_length"})
        if unknown or (kind != "processor" and "model_max_length" in arguments[kind]):
            raise SourceError(f"{path} sets {', '.join(unknown or ['model_max_length'])} in {key}, which is not served")
    names = {
        f"{kind}_{ending}" for kind in ("model", "processor", "config", "tokenizer") for ending in ("args", "kwargs")
    }
    _require_known(path, settings, {"max_seq_length", "do_lower_case", "unpad_inputs", *_SERVED_ONLY, *names})
    for key, served in _SERVED_ONLY.items():
        value = settings.get(key)
        if value is not None and value not in served:
            what = ", ".join(value) if key == "modality_config" and isinstance(value, dict) else value
            only = f"; only {served[0]} is served" if served and key != "modality_config" else "; only text is served"
            raise SourceError(f"{path} sets {key} to {what!s:.100}{only if served else ', which is not served'}")
    given = {**settings, **arguments["processor"]}
    key = "model_max_length" if given.get("model_max_length") is not None else "max_seq_length"
    return _positive(path, given, key), bool(settings.get("do_lower_case"))


def _positive(path: Path, settings: Mapping[str, Any], key: str) -> int | None:
    value = settings.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise SourceError(f"{key} in {path} should be an integer of 1 or more, not {value!r}")
    return value


def _require_known(path: Path, settings: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(settings) - known)
    if unknown:
        raise SourceError(
            f"{path} has keys that are not known: {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
