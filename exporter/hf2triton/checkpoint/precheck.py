"""Finds faults of a source in names, JSON files and safetensors headers, before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.options import ExportOptions
from ..core.source import Source
from ..core.wording import some
from ..engines.common.resolve import resolve
from ..errors import HeadMissing, SourceError, UnsupportedArchitecture, UsageError, WeightsError
from ..families import Family, table_rows
from ..tasks.base import Task
from .adapters.source import Adapter, find_base, head_settings, read_base_and_adapter, require_base, require_fit
from .adapters.vocabulary import rows_of
from .cross_encoder import label_count, read_cross_encoder, require_single_label
from .generation_settings import check_generation
from .image_settings import check_images
from .sample_inputs import check_calibration
from .sentence_folder import read_sentence_folder
from .source import open_source, peek_source, weight_shapes
from .task_inference import family_of, task_of
from .tokenizer_files import read_tokenizer_files, read_types, require_rows, require_types


@dataclass(frozen=True)
class PrecheckedSource:
    """The base with its files checked, the adapter to merge into it, and the task."""

    source: Source
    adapter: Adapter | None
    task: Task


def look_at_files(options: ExportOptions) -> PrecheckedSource:
    """Finds the source and checks all that can be known without loading it. Weights are fetched from the hub only if the
    configs are sound. Raises SourceError and its kinds, and UsageError for options that do not fit the task."""
    base, adapter = read_base_and_adapter(options)
    source = find_base(base, adapter, options, peek_source)
    family = family_of(source)
    if adapter is not None:
        require_base(adapter, base, source.config)
    task = task_of(source, options.task, adapter)
    resolve(options, task)
    check_calibration(options.calibration, task)
    _check_config(source, family)
    if task.generates:
        check_generation(source.generation_folder)
    if any(endpoint.modality == "image" for endpoint in task.endpoints):
        check_images(source.model_folder, source.config, family, source.processor_folder)
    source = find_base(base, adapter, options, open_source)
    if adapter is not None:
        require_fit(adapter, source)
    _check_weights(source, family, task, adapter, options)
    return PrecheckedSource(source, adapter, task)


def _check_config(source: Source, family: Family) -> None:
    """Raises UnsupportedArchitecture for what the config asks for but transformers would not compute, and SourceError for an
    unknown problem_type."""
    path = source.model_folder / "config.json"
    nested = (source.config.get(name) for name in family.configs.values())
    for endpoint in (source.config, *(one for one in nested if isinstance(one, dict))):
        for key, (is_asked, why) in _NOT_COMPUTED.items():
            if is_asked(endpoint.get(key)):
                raise UnsupportedArchitecture(f"{path} has the {key} {_short(endpoint[key])}: {why}")
    problem = source.config.get("problem_type")
    if problem not in _PROBLEMS:
        raise SourceError(f"{path} has the problem_type {problem!r}; known are {', '.join(filter(None, _PROBLEMS))}")


#: Key of a config -> whether its value asks for something, and why that cannot be served.
_NOT_COMPUTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "position_embedding_type": (
        lambda value: value not in (None, "absolute"),
        "transformers 5 computes absolute positions alone and would leave out the others, which changes every answer. Serve the"
        " model with the transformers 4 that it was trained with, or train one with absolute positions",
    ),
    "pruned_heads": (
        bool,
        "transformers 5 does not prune attention heads any more. Export the checkpoint from before they were pruned",
    ),
    "auto_map": (
        bool,
        "the model has code of its own, which is never run, and transformers' own class may compute something else. If it is an"
        " ordinary model, load it with that class, save it again with save_pretrained, and compare the answers",
    ),
    "quantization_config": (
        bool,
        "its weights are quantized already. Give the checkpoint in full precision, and choose with --precision",
    ),
}
_PROBLEMS = (None, "regression", "single_label_classification", "multi_label_classification")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _check_weights(source: Source, family: Family, task: Task, adapter: Adapter | None, options: ExportOptions) -> None:
    """Compares the headers of the weights with the other files. Pickles have no headers; an adapter may supply what the base
    lacks."""
    shapes = weight_shapes(source)
    if shapes:
        _check_tables(source, family, shapes)
    rows = None
    if shapes and task.name in family.heads and adapter is None:
        rows = _head_rows(source, family, task, shapes)
    if task.scores_pairs:
        read_cross_encoder(source)
        if adapter is None:
            require_single_label(source, task, label_count(source.config) if rows is None else rows)
    if task.has_labels and (options.labels is not None or adapter is None):
        check_labels(source, options.labels, rows)
    if task.embeds and source.sentence_folder is not None:
        read_sentence_folder(source.sentence_folder, source.config, options.allow_pickle, task.name)
    told = adapter is None or adapter.shapes is not None  # a pickled adapter is not opened yet
    if adapter is not None and told and task.has_head:
        head_settings(adapter)
    if any(endpoint.modality == "text" for endpoint in task.endpoints):
        folder, tables = source.tokenizer_folder, table_rows(family, shapes)
        tokens, embeddings = read_tokenizer_files(folder), tables.get("input_ids")
        if adapter is not None and told and embeddings is not None:
            embeddings = rows_of(adapter, family.embedding, embeddings, {token: at for at, token in tokens.items()})
        require_rows(tokens, embeddings if told else None, folder)
        require_types(read_types(folder), tables.get("token_type_ids"), folder)


def _head_rows(source: Source, family: Family, task: Task, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number of rows of the weight that identifies a task's head. Raises HeadMissing if there is no such weight."""
    endings = family.heads[task.name]
    endings = (endings,) if isinstance(endings, str) else endings
    found = [shape for name, shape in shapes.items() if f".{name}".endswith(tuple(f".{ending}" for ending in endings))]
    if not found:
        raise HeadMissing(
            f"{source.model_folder} has no trained weights for {task.name}: {endings[0]} would be random. Is it the body of a"
            " model that is still to be trained, or were the weights saved without their head?"
        )
    return found[0][0]


def _check_tables(source: Source, family: Family, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises WeightsError if a table's number of rows differs from the config's."""
    config = source.config.get(family.configs.get("text", ""), source.config)
    rows = table_rows(family, shapes)
    for table, (ending, key) in family.tables.items():
        if table in rows and isinstance(config.get(key), int) and config[key] != rows[table]:
            raise WeightsError(
                f"{ending} in {source.model_folder} has {rows[table]:,} rows; its config.json has the {key} {config[key]:,}:"
                " they do not belong together"
            )


def check_labels(source: Source, given: Sequence[str] | None, rows: int | None) -> None:
    """Checks that labels are numbered 0 to n - 1, and that there are as many as the head has `rows` (None: not known). Raises
    SourceError, and UsageError for labels that are `given`."""
    path: Path = source.model_folder / "config.json"
    config = source.config
    if given is not None:
        if rows is not None and len(given) != rows:
            raise UsageError(f"{len(given)} labels are given ({', '.join(given)}), and the head has {rows}")
        return
    names = config.get("id2label")
    if names is None:
        count = config.get("num_labels", 2)
        _check_problem(path, config, count)
        if rows not in (None, count):
            raise SourceError(
                f"{path} names no labels (id2label), so that there would be {count}, and the head has {rows}: list them"
                " as labels in a build file, in the order of the rows"
            )
        return
    if not isinstance(names, dict) or not names:
        raise SourceError(f"{path} has the id2label {_short(names)}; it must give a label for each number")
    numbers = {key: int(key) for key in names if str(key).strip().isdecimal()}
    count = len(names) if rows is None else rows
    wrong = [str(key) for key in names if key not in numbers or numbers[key] >= count]
    missing = [str(number) for number in range(count) if number not in numbers.values()]
    if wrong or missing:
        head = f"the head has {rows} rows, and id2label" if rows is not None else "id2label"
        faults = [f"lacks {some(missing)}"] if missing else []
        faults += [f"names {some(wrong)}, for which there is no row"] if wrong else []
        raise SourceError(
            f"{path}: labels are numbered 0 to {count - 1}; {head} {' and '.join(faults)}. Mend the file, or list all"
            " labels in a build file"
        )
    _check_problem(path, config, count)


def _check_problem(path: Path, config: Mapping[str, Any], labels: int) -> None:
    if labels == 1 and config.get("problem_type") == "single_label_classification":
        raise SourceError(
            f"{path} has the problem_type single_label_classification and a single label, which transformers does not load: write"
            " regression, or leave the key out"
        )
