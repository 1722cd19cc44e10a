"""Reads a sentence-transformers folder: its modules in order, its prompts, and how embeddings are compared.

Reads it as `SentenceTransformer`, `SparseEncoder` and `MultiVectorEncoder` of sentence-transformers 6 do, in the layout of that
version and of earlier ones. A setting that would change an embedding and cannot be served raises an error that names it. Reads
only JSON and the headers of safetensors files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.embedding import (
    DEFAULT_PROMPTS,
    SIMILARITIES,
    TOKEN_SIMILARITIES,
    Layer,
    Pooling,
    SentenceFolder,
    TokenVectors,
)
from ..core.json_files import read_json, read_object
from ..core.source import SentenceModule
from ..errors import SourceError
from .sentence_layers import LAYERS, SENTENCE, TOKENS
from .sentence_modules import check_mask, positive, read_pooling, read_splade, read_transformer

MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"
#: The modules that a folder may begin with. The second is version 5's name of a Transformer with the head of a masked language
#: model.
_FIRST = ("Transformer", "MLMTransformer")


@dataclass(frozen=True)
class Encoder:
    """What a folder says that it holds, by its `model_type`. `task`: the task that serves it. `similarities`: the ways to compare
    its embeddings, the default first. `transformer_task`: what its Transformer module must do."""

    task: str
    similarities: tuple[str, ...]
    transformer_task: str = "feature-extraction"


#: model_type -> what it is.
ENCODERS: Mapping[str, Encoder] = {
    "SentenceTransformer": Encoder("sentence-similarity", SIMILARITIES),
    "MultiVectorEncoder": Encoder("sentence-similarity", TOKEN_SIMILARITIES),
    "SparseEncoder": Encoder(
        "sparse-embedding", ("dot", *(name for name in SIMILARITIES if name != "dot")), "fill-mask"
    ),
}
_DEFAULT = "SentenceTransformer"


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
    if not modules or modules[0].kind not in _FIRST:
        first = f"begins with {modules[0].kind}" if modules else "lists no modules"
        raise SourceError(f"{path} {first}; models that begin with a Transformer can be exported")
    return modules


def _module(path: Path, kind: str, place: str) -> SentenceModule:
    if not kind.startswith("sentence_transformers."):
        raise SourceError(f"{path} asks for the custom module {kind}; code that comes with a model is never run")
    if Path(place).is_absolute() or ".." in Path(place).parts:
        raise SourceError(f"{path} places {kind} at {place!r}, which is outside of the folder")
    return SentenceModule(kind.rsplit(".", 1)[-1], place)


def task_of_folder(folder: Path) -> str:
    """The name of the task that serves a sentence-transformers folder. A folder of an unknown type is refused when it is read."""
    kind = read_object(folder / CONFIG).get("model_type", _DEFAULT)
    return ENCODERS.get(kind, ENCODERS[_DEFAULT]).task


def read_sentence_folder(
    folder: Path, config: Mapping[str, Any], allow_pickle: bool = False, task: str = "sentence-similarity"
) -> SentenceFolder:
    """All that the folder says. `config`: the content of the model's config.json. `task`: the name of the task to serve.

    Raises SourceError for what cannot be served, and WeightsError for layers whose weights do not fit.
    """
    modules, path = read_modules(folder), folder / CONFIG
    settings = read_object(path)
    kind = _kind(path, settings, task)
    encoder = ENCODERS[kind]
    max_length, lower_case = read_transformer(folder / modules[0].path, encoder.transformer_task)
    prompts, default = _prompts(path, settings)
    width = config.get("hidden_size") or config.get("dim")
    pooling, token_layers = _OF_KIND[kind](
        _Folder(folder, modules[1:], settings, width if isinstance(width, int) else None, allow_pickle)
    )
    return SentenceFolder(
        pooling, token_layers, prompts, default, _similarity(path, settings, encoder), max_length, lower_case
    )


@dataclass(frozen=True)
class _Folder:
    """The modules after the Transformer, the settings of the whole model, and the size of its states (None: not known)."""

    path: Path
    modules: tuple[SentenceModule, ...]
    settings: Mapping[str, Any]
    width: int | None
    allow_pickle: bool

    def config(self, index: int) -> Path:
        return self.path / self.modules[index].path / "config.json"

    def layers(
        self, modules: Sequence[SentenceModule], reads: str, width: int | None
    ) -> tuple[tuple[Layer, ...], int | None]:
        """The layers that modules stand for, and the size of the embeddings after them."""
        layers: list[Layer] = []
        for module in modules:
            layer, width = LAYERS[reads][module.kind](self.path / module.path, width, self.allow_pickle, reads)
            layers += [] if layer is None else [layer]
        return tuple(layers), width

    def foreign(self, kinds: Sequence[str], why: str) -> SourceError:
        return SourceError(
            f"{self.path / MODULES} has modules that cannot be exported: {', '.join(kinds)} ({why});"
            " --task serves the Transformer alone, as transformers' pipeline does"
        )


_Read = tuple[Pooling | Any, tuple[Layer, ...]]


def _sentence_transformer(folder: _Folder) -> _Read:
    """Layers for tokens, Pooling, layers for embeddings."""
    kinds = [module.kind for module in folder.modules]
    at = next((index for index, kind in enumerate(kinds) if kind not in LAYERS[TOKENS]), len(kinds))
    if kinds[at : at + 1] != ["Pooling"]:
        raise folder.foreign(kinds[at : at + 1] or ["Transformer"], "must be followed by Pooling")
    unknown = [kind for kind in kinds[at + 1 :] if kind not in LAYERS[SENTENCE]]
    if unknown:
        raise folder.foreign(unknown, f"after Pooling can come {', '.join(LAYERS[SENTENCE])}")
    token_layers, width = folder.layers(folder.modules[:at], TOKENS, folder.width)
    modes, include_prompt = read_pooling(folder.config(at))
    width = None if width is None else width * len(modes)
    layers, _ = folder.layers(folder.modules[at + 1 :], SENTENCE, width)
    truncate_dim = positive(folder.path / CONFIG, folder.settings, "truncate_dim")
    return Pooling(modes, include_prompt, layers, truncate_dim), token_layers


def _multi_vector_encoder(folder: _Folder) -> _Read:
    """Layers for tokens, and a mask that leaves no token out."""
    known = (*LAYERS[TOKENS], "MultiVectorMask")
    unknown = [module.kind for module in folder.modules if module.kind not in known]
    if unknown:
        raise folder.foreign(unknown, f"after the Transformer of a MultiVectorEncoder can come {', '.join(known)}")
    masks = [index for index, module in enumerate(folder.modules) if module.kind == "MultiVectorMask"]
    for index in masks:
        check_mask(folder.config(index))
    layers = [module for index, module in enumerate(folder.modules) if index not in masks]
    return TokenVectors(), folder.layers(layers, TOKENS, folder.width)[0]


def _sparse_encoder(folder: _Folder) -> _Read:
    """SpladePooling alone."""
    kinds = [module.kind for module in folder.modules]
    if kinds != ["SpladePooling"]:
        others = [kind for kind in kinds if kind != "SpladePooling"]
        raise folder.foreign(others or kinds or ["Transformer"], "must be followed by one SpladePooling")
    most = positive(folder.path / CONFIG, folder.settings, "max_active_dims")
    return read_splade(folder.config(0), most), ()


_OF_KIND = {
    "SentenceTransformer": _sentence_transformer,
    "MultiVectorEncoder": _multi_vector_encoder,
    "SparseEncoder": _sparse_encoder,
}


def _kind(path: Path, settings: Mapping[str, Any], task: str) -> str:
    """The model_type, if the task serves it. Keys that sentence-transformers ignores are ignored here too."""
    kind = str(settings.get("model_type", _DEFAULT))
    served = [name for name, encoder in ENCODERS.items() if encoder.task == task]
    if kind not in served:
        raise SourceError(
            f"{path} describes a {kind}, and {task} serves a {' or a '.join(served)};"
            " --task serves its Transformer alone, as transformers' pipeline does"
        )
    return kind


def _similarity(path: Path, settings: Mapping[str, Any], encoder: Encoder) -> str:
    name = settings.get("similarity_fn_name") or encoder.similarities[0]
    if name not in encoder.similarities:
        raise SourceError(
            f"{path} compares embeddings by {name!r} (similarity_fn_name); known are {', '.join(encoder.similarities)}"
        )
    return str(name)


def _prompts(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    """The prompts by name, and the name of the default prompt."""
    given, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(given, dict) or not all(text is None or isinstance(text, str) for text in given.values()):
        raise SourceError(f"prompts in {path} should be texts by their names, not {given!r:.80}")
    prompts = {**DEFAULT_PROMPTS, **{name: text or "" for name, text in given.items()}}
    if default is not None and default not in prompts:
        raise SourceError(f"{path} has no prompt {default!r} (default_prompt_name); it has {', '.join(prompts)}")
    return prompts, default
