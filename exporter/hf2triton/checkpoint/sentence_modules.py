"""The settings of single modules in a sentence-transformers folder: Transformer, Pooling, SpladePooling, MultiVectorMask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.embedding import Splade
from ..core.json_files import read_object
from ..errors import SourceError
from ..families.common.sentence_configs import SENTENCE_CONFIGS

#: Flag in files from before version 6 -> the pooling mode that it sets, in the order of concatenation.
POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
#: Key of a SpladePooling -> the values that it may have, the default first.
_SPLADE: Mapping[str, tuple[str, ...]] = {
    "pooling_strategy": ("max", "sum"),
    "activation_function": ("relu", "log1p_relu"),
}
#: Settings of the Transformer module that do not change what the model computes in fp32.
_WITHOUT_EFFECT = {
    "model": {"attn_implementation", "device_map", "dtype", "low_cpu_mem_usage", "torch_dtype", "use_safetensors"},
    "processor": {"use_fast"},
    "config": set(),
}
#: What a Transformer module does -> key of its settings -> the values that can be served. None is the same as no key.
_SERVED_ONLY: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    task: {
        "transformer_task": (task,),
        "module_output_name": (name,),
        "modality_config": tuple(
            {"text": {"method": "forward", "method_output_name": value}} for value in (output, [output])
        ),
        "processing_kwargs": ({},),
        "query_length": (),
        "document_length": (),
        "query_expansion": (),
        "tokenizer_name_or_path": (),
    }
    for task, name, output in (
        ("feature-extraction", "token_embeddings", "last_hidden_state"),
        ("fill-mask", "token_embeddings", "logits"),
        ("sequence-classification", "scores", "logits"),
    )
}


def read_pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    """A Pooling module's modes, and whether a prompt's tokens count. Raises SourceError."""
    _require_file(path, "how the model pools")
    settings = read_object(path)
    known = {"word_embedding_dimension", "embedding_dimension", "pooling_mode", "include_prompt", *POOLING_MODES}
    require_known(path, settings, known)
    flags = [mode for flag, mode in POOLING_MODES.items() if settings.get(flag)]
    asked = settings.get("pooling_mode", flags or "mean")
    modes = [asked] if isinstance(asked, str) else asked
    if not isinstance(modes, list) or not modes or not set(map(str, modes)) <= set(POOLING_MODES.values()):
        raise SourceError(f"{path} asks for the pooling {asked}; known are {', '.join(POOLING_MODES.values())}")
    return tuple(modes), bool(settings.get("include_prompt", True))


def read_splade(path: Path, max_active_dims: int | None) -> Splade:
    """A SpladePooling module. `max_active_dims`: of the whole model. Raises SourceError."""
    _require_file(path, "how the model pools")
    settings = read_object(path)
    require_known(path, settings, {*_SPLADE, "word_embedding_dimension", "embedding_dimension", "chunk_size"})
    chosen = {key: settings.get(key) or known[0] for key, known in _SPLADE.items()}
    for key, value in chosen.items():
        if value not in _SPLADE[key]:
            raise SourceError(f"{path} has the {key} {value!r}; known are {', '.join(_SPLADE[key])}")
    return Splade(chosen["pooling_strategy"], chosen["activation_function"], max_active_dims)


def check_mask(path: Path) -> None:
    """Raises SourceError for a MultiVectorMask that leaves out some of a text's tokens."""
    settings = read_object(path)
    require_known(path, settings, {"skiplist_words", "skiplist_tasks", "keep_only_token_ids"})
    for key in ("skiplist_words", "keep_only_token_ids"):
        if settings.get(key):
            raise SourceError(f"{path} sets {key}: the vectors of some tokens would be left out, which is not served")


def read_transformer(folder: Path, task: str) -> tuple[int | None, bool]:
    """The Transformer module's longest sequence, and whether it lower-cases texts. `task`: what it must do, a key of
    `_SERVED_ONLY`. Raises SourceError."""
    path = next((folder / name for name in SENTENCE_CONFIGS if read_object(folder / name)), folder / "none")
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
    served_only = _SERVED_ONLY[task]
    require_known(path, settings, {"max_seq_length", "do_lower_case", "unpad_inputs", *served_only, *names})
    for key, served in served_only.items():
        value = settings.get(key)
        if value is not None and value not in served:
            what = ", ".join(value) if key == "modality_config" and isinstance(value, dict) else value
            only = f"; only {served[0]} is served" if served and key != "modality_config" else "; only text is served"
            raise SourceError(f"{path} sets {key} to {what!s:.100}{only if served else ', which is not served'}")
    given = {**settings, **arguments["processor"]}
    key = "model_max_length" if given.get("model_max_length") is not None else "max_seq_length"
    return positive(path, given, key), bool(settings.get("do_lower_case"))


def positive(path: Path, settings: Mapping[str, Any], key: str) -> int | None:
    """A setting that is an integer of 1 or more, or None. Raises SourceError."""
    value = settings.get(key)
    if value is not None and (type(value) is not int or value < 1):
        raise SourceError(f"{key} in {path} should be an integer of 1 or more, not {value!r}")
    return value


def require_known(path: Path, settings: Mapping[str, Any], known: set[str]) -> None:
    """Raises SourceError for keys that are not known."""
    unknown = sorted(set(settings) - known)
    if unknown:
        raise SourceError(
            f"{path} has keys that are not known: {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )


def _require_file(path: Path, what: str) -> None:
    if not path.exists():
        raise SourceError(f"{path} is missing, which says {what}")
