"""Loads a source into a checkpoint: the model in fp32, its tokenizer, and what its files say about its use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.embedding import PLAIN, SentenceFolder, TokenVectors
from ..core.ranking import CrossEncoderFolder
from ..core.source import Source
from ..core.types import Checkpoint, LabelSimilarity, Tokenizer
from ..core.wording import some
from ..errors import HeadMissing, SourceError, UsageError, WeightsError
from ..families import Family, table_rows
from ..tasks.base import Endpoint, Output, Task, with_preprocessor
from .adapters.source import Adapter, head_settings, require_base, require_fit
from .adapters.vocabulary import fit_vocabulary
from .cross_encoder import read_cross_encoder, require_single_label
from .generation_settings import generation_of
from .image_processor import read_images
from .sentence_folder import read_sentence_folder
from .source import weight_shapes
from .task_inference import family_of, task_of
from .tokenizer import load_tokenizer, require_decoder, require_padding, require_streaming
from .tokenizer_files import require_rows, require_types, tokens_of, types_of

#: Config keys that affect how a model runs or returns its outputs -> the value that an export needs. It changes no answer.
_SAME_ANSWERS = {
    "chunk_size_feed_forward": 0,  # chunks would fix the length of every text
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
}


def load_checkpoint(
    source: Source,
    task_name: str | None,
    adapter: Adapter | None = None,
    labels: Sequence[str] | None = None,
    on_demand: bool = False,
) -> Checkpoint:
    """Loads the model for a task (None: the task it was trained for), its tokenizer and its image processor.

    With an adapter to merge, the default task is the adapter's, and the head may be random until the merge. `labels` replace
    the head's labels. `on_demand`: with the outputs that exist only on demand. Never runs remote code. Raises SourceError and
    its kinds, UnknownName for a task, and UsageError for labels that do not fit.
    """
    family = family_of(source)
    if adapter is not None:
        require_base(adapter, source.given, source.config)
        require_fit(adapter, source)
    task = task_of(source, task_name, adapter)
    sentences = _sentences(source, task) if task.embeds else None
    ranking = read_cross_encoder(source) if task.scores_pairs else None
    plain = all(endpoint.preprocessor == "text" for endpoint in task.endpoints)
    if sentences is not None and plain and (sentences.has_prompts or sentences.lower_case):
        task = with_preprocessor(task, "sentence")
    model, missing = _load_model(source, family, task, adapter, labels)
    modalities = {endpoint.modality for endpoint in task.endpoints}
    reads_text = "text" in modalities
    tokenizer, max_length = None, None
    if reads_text:
        tokenizer, max_length = _text_side(source, family, task, model.config, sentences or ranking)
    image = _config_of(model.config, family, "image").to_dict() if "image" in modalities else None
    if adapter is not None and tokenizer is not None:
        fit_vocabulary(model, adapter, family, tokenizer)
    if tokenizer is not None and _takes_types(family, tokenizer, model):
        family = family.with_types()
    optional = _has_pooler(source, family)
    similarity = _similarity(model, family) if any(endpoint.suffix for endpoint in task.endpoints) else None
    return Checkpoint(
        source=source,
        family=family,
        task=task,
        model=model,
        tokenizer=tokenizer,
        max_length=max_length,
        image=read_images(source, image, family) if image else None,
        outputs={endpoint.suffix: _outputs(endpoint, optional, on_demand, sentences) for endpoint in task.endpoints},
        sentences=sentences,
        ranking=ranking,
        id2label=_labels(source, task, model.config, labels),
        problem_type=getattr(model.config, "problem_type", None),
        generation=generation_of(model, source) if task.generates else None,
        similarity=similarity,
        missing=missing,
    )


def _takes_types(family: Family, tokenizer: Tokenizer, model: Any) -> bool:
    """Whether the tokenizer tells the texts of a pair by types that the model knows, but that its family's inputs lack."""
    if not tokenizer.type_ids or "token_type_ids" in family.inputs["text"]:
        return False
    return min(types_of(json.loads(tokenizer.definition)), _rows(family, model).get("token_type_ids", 1)) > 1


def _rows(family: Family, model: Any) -> dict[str, int]:
    return table_rows(family, {name: tensor.shape for name, tensor in model.state_dict().items()})


def require_known_tokens(checkpoint: Checkpoint) -> None:
    """Checks that every id that the tokenizer can produce has a row in the model's tables. Raises SourceError."""
    if checkpoint.tokenizer is None:
        return
    definition, folder = json.loads(checkpoint.tokenizer.definition), checkpoint.source.tokenizer_folder
    rows = _rows(checkpoint.family, checkpoint.model)
    padding = {} if checkpoint.task.generates else {checkpoint.tokenizer.pad_token_id: "the padding"}
    require_rows(padding | tokens_of(definition), rows.get("input_ids"), folder)
    if checkpoint.tokenizer.type_ids:
        require_types(types_of(definition), rows.get("token_type_ids"), folder)


def without_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with an empty model. Frees the weights even if something still refers to the parameters."""
    import torch

    for parameter in checkpoint.model.parameters():
        parameter.data = torch.empty(0)
    return replace(checkpoint, model=torch.nn.Module())


def _load_model(
    source: Source, family: Family, task: Task, adapter: Adapter | None, labels: Sequence[str] | None
) -> tuple[Any, frozenset[str]]:
    """The model, and the parameters that are random until an adapter supplies them."""
    import torch
    from optimum.exporters.tasks import TasksManager
    from transformers.utils import logging as hf_logging

    folder = source.model_folder
    auto_class = TasksManager.get_model_class_for_task(task.class_of or task.name, model_type=family.name)
    arguments = {} if task.has_head else dict(family.base_arguments)
    if family.pooler and not task.has_head:
        arguments["add_pooling_layer"] = _has_pooler(source, family)
    arguments |= {name: value for name, value in _SAME_ANSWERS.items() if name in source.config}
    if labels is not None and task.has_labels:
        arguments |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    if adapter is not None and task.has_head:
        arguments |= head_settings(adapter)
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        model, info = auto_class.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa" if family.calls_interface else "eager",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not source.pickled,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below
            **arguments,
        )
    except ModuleNotFoundError:
        raise  # the command names the extra that brings it
    except Exception as error:  # transformers lets all errors of its libraries through
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"the weights in {folder} do not load as a {family.name} model: {first_line}") from error
    _require_shapes(folder, family, info["mismatched_keys"])
    missing = sorted(info["missing_keys"])
    leftover = _leftover(family, model, info["unexpected_keys"])
    if missing and adapter is None:
        also = f". It has {some(leftover)} instead, for which the model has no place" if leftover else ""
        raise HeadMissing(f"{folder} has no trained weights for {task.name}: {some(missing)} would be random{also}")
    if leftover:
        raise WeightsError(
            f"{folder} has weights that a {type(model).__name__} has no place for, so that they would be dropped:"
            f" {some(leftover)}. Was it trained as another class, or with layers of its own?"
        )
    return model.eval().requires_grad_(False), frozenset(missing)


def _require_shapes(folder: Path, family: Family, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Raises WeightsError if weights do not have the shapes that the config asks for."""
    wrong = [
        f"{name} is {list(own)} in the file, and by config.json {list(wanted)}"
        for name, own, wanted in sorted(mismatched)
    ]
    if wrong:
        raise WeightsError(f"the weights in {folder} do not fit its {family.name} model: {some(wrong)}")


def _leftover(family: Family, model: Any, unexpected: Iterable[str]) -> list[str]:
    """Weights in the files that have no place in the model, except those that no answer depends on."""
    prefix = f"{model.base_model_prefix}."
    names = ((name, name.removeprefix(prefix)) for name in sorted(unexpected))
    return [name for name, short in names if not any(re.fullmatch(pattern, short) for pattern in family.leftover)]


def _outputs(
    endpoint: Endpoint, optional: bool, on_demand: bool, sentences: SentenceFolder | None
) -> tuple[Output, ...]:
    """The outputs of an endpoint that exist for a checkpoint. `optional`: it has the weights of the optional ones."""
    if sentences is not None and isinstance(sentences.pooling, TokenVectors):
        return tuple(output for output in endpoint.outputs if output.per == "token")
    outputs = (output for output in endpoint.outputs if optional or not output.optional)
    return tuple(output for output in outputs if on_demand or not output.on_demand)


def _has_pooler(source: Source, family: Family) -> bool:
    """Whether the checkpoint has the weights of the family's pooling layer."""
    if not family.pooler:
        return family.pooler is not None
    return any(f".{family.pooler}" in f".{name}" for name in weight_shapes(source))


def _labels(source: Source, task: Task, config: Any, given: Sequence[str] | None) -> dict[int, str]:
    """The head's labels, or those `given` in their place. Raises UsageError if they do not fit, and HeadMissing if a label that
    the task needs is missing."""
    labels = dict(config.id2label) if task.has_labels else {}
    if given is not None:
        if len(given) != len(labels):
            has = f"head has {len(labels)}" if task.has_labels else f"task, {task.name}, has none"
            raise UsageError(f"{len(given)} labels are given ({', '.join(given)}), and the {has}")
        labels = dict(enumerate(given))
    if task.scores_pairs:
        require_single_label(source, task, len(labels))
    wanted = task.needs_label
    names = [str(label) for label in labels.values()]
    if wanted and not any(label.lower().startswith(wanted[:6]) for label in names):
        raise HeadMissing(f"{task.name} needs a label {wanted!r}; {source.given} has {', '.join(names)}")
    return labels


def _text_side(
    source: Source,
    family: Family,
    task: Task,
    config: Any,
    folder_of_sentences: SentenceFolder | CrossEncoderFolder | None,
) -> tuple[Tokenizer, int]:
    """The tokenizer, and the maximum number of tokens in a row."""
    folder = source.tokenizer_folder
    tokenizer, limit = load_tokenizer(folder, not task.generates, family.piece_normalizers)
    if task.joins_words:
        require_decoder(tokenizer, folder)
    if tokenizer.mask_token is None and any(endpoint.preprocessor == "masked-text" for endpoint in task.endpoints):
        raise SourceError(f"{task.name} needs a mask token, and the tokenizer in {folder} has none")
    positions = family.max_positions(_config_of(config, family, "text"))
    if family.padded_to is not None:
        require_padding(tokenizer, folder, family.padded_to, positions)
        return tokenizer, family.padded_to
    if task.generates:
        require_streaming(tokenizer, folder)
        return tokenizer, positions  # a tokenizer's limit does not count new tokens
    limit = (folder_of_sentences and folder_of_sentences.max_length) or limit
    return tokenizer, min(limit, positions) if limit else positions


def _similarity(model: Any, family: Family) -> LabelSimilarity | None:
    """How scores of labels follow from the cosines of embeddings."""
    if family.logit_scale is None:
        return None
    bias = 0.0 if family.logit_bias is None else float(getattr(model, family.logit_bias))
    return LabelSimilarity(float(getattr(model, family.logit_scale).exp()), bias, family.label_scores)


def _config_of(config: Any, family: Family, modality: str) -> Any:
    return getattr(config, family.configs[modality]) if modality in family.configs else config


def _sentences(source: Source, task: Task) -> SentenceFolder:
    """How the checkpoint makes embeddings. A plain checkpoint makes them as sentence-transformers does with it. If pickles were
    allowed, those of its layers are among the weights."""
    if source.sentence_folder is None:
        return PLAIN[task.name]
    allow_pickle = any(name.endswith(".bin") for name in source.weights)
    return read_sentence_folder(source.sentence_folder, source.config, allow_pickle, task.name)
