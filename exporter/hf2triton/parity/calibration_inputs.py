"""The inputs for measuring ranges: real ones that come with hf2triton, the user's, or random ones as a last resort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hf2triton_client.evaluation.baseline import Baseline

from ..checkpoint.parts import tokenizer_of
from ..checkpoint.preprocessing import as_text_preprocessor, items_of, preprocessor_of, texts_in
from ..checkpoint.sample_inputs import inputs_from, texts
from ..core.types import Checkpoint, Graph, GraphInput
from ..errors import ParityError, UsageError
from ..tasks.base import Endpoint, Inputs
from ..triton_models.executors import Feeds
from ..triton_models.preprocessor import Preprocessor
from .decoder_baseline import prompt_ids

#: The number of rows in one call.
ROWS = 4
#: The maximum number of rows used for calibration; a file may hold more.
MOST_ROWS = 512
#: Suffixes of image files in a folder.
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: If a tokenizer does not know more than this share of the shipped texts' tokens, the texts say nothing about the model.
MOST_UNKNOWN = 0.5
_TYPES: Mapping[str, np.dtype[Any]] = {
    "INT64": np.dtype(np.int64),
    "FLOAT": np.dtype(np.float32),
    "FLOAT16": np.dtype(np.float16),
}


@dataclass(frozen=True)
class Calibration:
    """Calls of a graph: the `feeds` of each, and a description of their origin. `own`: whether they are the user's."""

    feeds: tuple[Feeds, ...]
    about: str
    warnings: tuple[str, ...] = ()
    own: bool = False


def calibration_of(
    checkpoint: Checkpoint, endpoint: Endpoint, graph: Graph, baseline: Baseline, given: Path | None
) -> Calibration:
    """The calibration of one part of a task, made from `given` if the part reads such inputs. Raises UsageError."""
    preprocessor = preprocessor_of(checkpoint, endpoint)
    if given is not None and given.suffix == ".npz":
        return Calibration(tuple(_tensors(given, graph)), f"the tensors in {given.name}", own=True)
    if given is not None and given.is_dir() == (endpoint.modality == "image"):
        if given.is_dir():
            files = _images(given)
            rows = [row for path in files for row in _rows(preprocessor, {"image": (path.read_bytes(),)}, path)]
            return _calibration(graph, preprocessor, rows, f"{len(files)} images of {given.name}", own=True)
        inputs = inputs_from(endpoint.preprocessor, checkpoint, _lines(given))
        return _calibration(
            graph, preprocessor, _rows(preprocessor, inputs, given), f"{_count(inputs)} of {given.name}", own=True
        )
    unknown = _share_unknown(checkpoint, preprocessor) if endpoint.modality == "text" else 0.0
    if unknown > MOST_UNKNOWN:
        warning = (
            f"calibrated with random tokens: the tokenizer does not know {unknown:.0%} of the texts that come with hf2triton;"
            " give real ones with --calibration"
        )
        return Calibration(tuple(_random(preprocessor, graph)), "random tokens", (warning,))
    if graph.state:
        return Calibration(
            tuple(_generated(graph, preprocessor, baseline)), f"{len(baseline)} texts that PyTorch generated"
        )
    rows = [row for item in items_of(preprocessor, baseline.inputs) for row in item.rows]
    return _calibration(graph, preprocessor, rows, f"{_count(baseline.inputs)} that come with hf2triton")


def _calibration(
    graph: Graph, preprocessor: Preprocessor, rows: Sequence[Any], about: str, own: bool = False
) -> Calibration:
    """Calls with several padded rows; a decoder's calls have one row each and an empty past."""
    if len(rows) > MOST_ROWS:
        rows, about = rows[:MOST_ROWS], f"{about}, the first {MOST_ROWS} rows of them"
    if graph.state:
        return Calibration(tuple(whole_text(graph, row.ids) for row in rows), about, own=own)
    starts = range(0, len(rows), ROWS)
    return Calibration(tuple(preprocessor.feeds(rows[start : start + ROWS]) for start in starts), about, own=own)


def _count(inputs: Inputs) -> str:
    return f"{len(next(iter(inputs.values())))} {'images' if 'image' in inputs else 'texts'}"


def _rows(preprocessor: Preprocessor, inputs: Inputs, path: Path) -> list[Any]:
    try:
        return [row for item in items_of(preprocessor, inputs) for row in item.rows]
    except ParityError as error:
        raise UsageError(f"{path} cannot be calibrated with: {error.__cause__}") from error


def _generated(graph: Graph, preprocessor: Preprocessor, baseline: Baseline) -> Iterator[Feeds]:
    """The prompts of a baseline, each with the text that PyTorch generated after it."""
    prompts = prompt_ids(preprocessor, texts_in(baseline.inputs, "text_input"))
    for prompt, tokens in zip(prompts, baseline.answers["token_ids"], strict=True):
        yield whole_text(graph, [*prompt, *tokens.tolist()])


def whole_text(graph: Graph, ids: Sequence[int]) -> Feeds:
    """A text in one call of a decoder, from an empty past."""
    empty = {
        value.name: np.zeros(_shape(value, {"batch": 1, "past": 0}), _TYPES[value.dtype])
        for value in graph.inputs
        if value.name in graph.state
    }
    row = np.array([ids], np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row), "position_ids": np.arange(row.size)[None], **empty}


def _shape(value: GraphInput, sizes: Mapping[str, int]) -> list[int]:
    """An input's dimensions as numbers; `sizes`: of the free dimensions."""
    return [dim if isinstance(dim, int) else sizes[dim] for dim in value.dims]


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the calibration file {path} cannot be read as lines of text: {error}") from error
    if not lines:
        raise UsageError(f"the calibration file {path} holds no text")
    return lines


def _images(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES and path.is_file())
    if not files:
        raise UsageError(f"the calibration folder {folder} holds no images ({', '.join(IMAGES)})")
    return files


def _tensors(path: Path, graph: Graph) -> Iterator[Feeds]:
    """The graph's inputs, row by row, from a file whose tensors are `[rows, …]`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError, EOFError, TypeError, BadZipFile) as error:
        raise UsageError(f"the calibration file {path} cannot be read: {error}") from error
    wanted = {value.name: value for value in graph.inputs}
    sizes: dict[str, int] = {}
    if set(arrays) != set(wanted):
        raise UsageError(f"{path} holds {', '.join(sorted(arrays))}; the graph takes {', '.join(sorted(wanted))}")
    for name, array in arrays.items():
        dims = wanted[name].dims
        # a named dimension has the same size in all tensors
        fits = array.ndim == len(dims) and all(
            size == (sizes.setdefault(dim, size) if isinstance(dim, str) else dim)
            for dim, size in zip(dims, array.shape, strict=True)
        )
        if not fits:
            raise UsageError(f"{name} in {path} has the shape {list(array.shape)}; the graph takes {list(dims)}")
    rows = min(sizes["batch"], MOST_ROWS)
    if not rows:
        raise UsageError(f"{path} holds no rows")
    for start in range(0, rows, 1 if graph.state else ROWS):
        stop = start + (1 if graph.state else ROWS)
        yield {name: array[start:stop].astype(_TYPES[wanted[name].dtype]) for name, array in arrays.items()}


def _share_unknown(checkpoint: Checkpoint, preprocessor: Preprocessor) -> float:
    """The share of the shipped texts' tokens that the tokenizer does not know."""
    texts_preprocessor = as_text_preprocessor(preprocessor)
    rows = texts_preprocessor.encoder.encode(texts())
    ids = [id for row in rows if not isinstance(row, ValueError) for id in row.ids]
    unknown = tokenizer_of(checkpoint).unk_token
    return ids.count(texts_preprocessor.tokenizer.token_to_id(unknown)) / len(ids) if unknown else 0.0


def _random(preprocessor: Preprocessor, graph: Graph) -> Iterator[Feeds]:
    """Random tokens, the same in every run, in rows of all lengths."""
    rng, preprocessor = np.random.default_rng(0), as_text_preprocessor(preprocessor)
    shortest = preprocessor.encoder.max_length if preprocessor.encoder.fills else 1
    lengths = np.unique(np.geomspace(shortest, preprocessor.encoder.max_length, ROWS).astype(int))
    for length in lengths:
        ids = rng.integers(0, preprocessor.tokenizer.get_vocab_size(), (1 if graph.state else ROWS, length))
        if graph.state:
            yield whole_text(graph, ids[0])
            continue
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "pooling_mask": np.ones_like(ids)}
        sizes = {"batch": ROWS, "sequence": length, "masks": 1}
        zeros = {value.name: np.zeros(_shape(value, sizes), np.int64) for value in graph.inputs}
        yield {name: known.get(name, array) for name, array in zeros.items()}
