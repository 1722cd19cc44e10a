"""Reads what a checkpoint says about its use as a cross-encoder.

Reads it as `CrossEncoder` of sentence-transformers 6 does: in that version's folders, which have a modules.json, and in those of
versions 2 to 5, which have keys in config.json. A setting that would change a score and cannot be served raises an error that
names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf2triton_client.pipelines.postprocess import ACTIVATIONS

from ..core.json_files import read_object
from ..core.ranking import CrossEncoderFolder
from ..core.source import Source
from ..errors import HeadMissing, SourceError
from ..tasks.base import Task
from .sentence_folder import CONFIG, MODULES, read_modules
from .sentence_modules import read_transformer

#: The key of config.json that versions before 4 wrote.
_ACTIVATION_BEFORE_4 = "sbert_ce_default_activation_function"


def is_cross_encoder(source: Source) -> bool:
    """Whether the checkpoint's files say that it is a cross-encoder."""
    folder, config = source.sentence_folder, source.config
    if folder is not None:
        return read_object(folder / CONFIG).get("model_type") == "CrossEncoder"
    return isinstance(config.get("sentence_transformers"), dict) or config.get(_ACTIVATION_BEFORE_4) is not None


def read_cross_encoder(source: Source) -> CrossEncoderFolder:
    """All that the files say. Raises SourceError for what cannot be served."""
    folder = source.sentence_folder
    if folder is None or not is_cross_encoder(source):
        return CrossEncoderFolder(_activation(source, {}))
    kinds = [module.kind for module in read_modules(folder)]
    if kinds != ["Transformer"]:
        raise SourceError(
            f"{folder / MODULES} has modules that cannot be exported: {', '.join(kinds[1:])}; cross-encoders that are a"
            " Transformer alone can"
        )
    settings = read_object(folder / CONFIG)
    max_length, lower_case = read_transformer(folder / read_modules(folder)[0].path, "sequence-classification")
    if lower_case:
        raise SourceError(
            f"{folder} asks for do_lower_case, which is not served for cross-encoders: save it with a tokenizer that"
            " lower-cases by itself"
        )
    prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
    if not isinstance(prompts, dict) or (default is not None and default not in prompts):
        raise SourceError(f"{folder / CONFIG} has no prompt {default!r} (default_prompt_name) among {prompts!r:.80}")
    named = {str(name): str(text or "") for name, text in prompts.items()}
    return CrossEncoderFolder(_activation(source, settings), named, default, max_length)


def require_single_label(source: Source, task: Task, labels: int) -> None:
    """Checks that the head has one label. Raises HeadMissing."""
    if labels != 1:
        raise HeadMissing(
            f"{task.name} needs a head with one label, the score of a pair, and that of {source.given} has {labels}: serve it"
            " with --task text-classification, which also takes pairs of texts"
        )


def label_count(config: Mapping[str, Any]) -> int:
    """How many labels a config.json gives the head."""
    names = config.get("id2label")
    count: int = len(names) if names else config.get("num_labels", 2)
    return count


def _activation(source: Source, settings: Mapping[str, Any]) -> str:
    """The name of the activation function. Functions that are not torch's are not loaded, by CrossEncoder neither."""
    for path, named in _activations(source, settings):
        if not str(named).startswith("torch."):
            continue
        name = str(named).rsplit(".", 1)[-1]
        if name not in ACTIVATIONS:
            raise SourceError(f"{path} has the activation function {named}; served are {', '.join(ACTIVATIONS)}")
        return name
    return CrossEncoderFolder.activation


def _activations(source: Source, settings: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """The activation functions that the files name, in the order in which they count."""
    if source.sentence_folder is not None:
        yield source.sentence_folder / CONFIG, settings.get("activation_fn")
    path, config = source.model_folder / "config.json", source.config
    saved = config.get("sentence_transformers")
    if isinstance(saved, dict) and "activation_fn" in saved:
        yield path, saved["activation_fn"]
    else:
        yield path, config.get(_ACTIVATION_BEFORE_4)
