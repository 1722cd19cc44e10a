"""Proves a graph: the same inputs as PyTorch was asked, run alone, padded, permuted; and the price of a call, on the way."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import compare, finite
from hf2triton_client.evaluation.places import Places

from ..checkpoint.preprocessing import items_of
from ..core.types import Graph, ParityCheck, ParityReport, StoredGraph
from ..errors import ParityError
from ..triton_models.executors import open_session
from ..triton_models.preprocessor import Item, Preprocessor, joined
from ..triton_models.sessions import open_session as open_on
from .advice import CALIBRATION, ON_GPU, ParityRequest, advice_of
from .calibration_inputs import Calibration
from .call_overhead import MOST_ON_CPU, MOST_ON_GPU, fit_call_overhead
from .edge_cases import edge_checks
from .places import AskedItems, places_of_calibration

#: How rows are put together: (name, rows of a batch, in reverse order, extra columns of padding). The others are compared
#: with the first as well as with PyTorch. 30 texts leave batches that are not full, of odd sizes and lengths.
LAYOUTS = (
    ("one row, no padding", 1, False, 0),
    ("in pairs, padded", 2, False, 0),
    ("batches of 8, padded", 8, False, 0),
    ("batches of 5 in reverse, padded further", 5, True, 7),
)
#: Lengths and rows of the calls whose price is measured, and the highest price.
_ON_CPU = (8, 16, 32, 64), (1, 2, 4, 8), MOST_ON_CPU
_ON_GPU = (8, 32, 128), (1, 4, 16, 64), MOST_ON_GPU


@dataclass(frozen=True)
class ParityInputs:
    """What a graph is asked: the baseline's inputs, as the `reader` of the frontend reads them; and what it was calibrated with,
    which PyTorch was not asked: where the user gave that, it must not give NaN or infinity. `gpu`: it is run on the GPU too.
    `id2label`: the head's labels."""

    baseline: Baseline
    reader: Preprocessor
    calibration: Calibration
    gpu: bool = False
    id2label: Mapping[int, str] = field(default_factory=dict)


def report_of(stored: StoredGraph, checks: Iterable[ParityCheck]) -> ParityReport:
    """All checks of a stored graph."""
    return ParityReport(tuple(checks), stored.weight_bytes, stored.fp32_weight_bytes)


def checks_of(stored: StoredGraph, asked: ParityInputs) -> Iterator[ParityCheck]:
    """Runs a stored graph and compares with PyTorch's answers, one check after the other: whoever looks for a
    failure may stop at the first.

    An fp16 graph is measured twice on the CPU: on a twin that rounds where a GPU would (the CPU provider hides fp16 overflow),
    and as it is. Where there is a GPU to be served on, it answers too.
    """
    baseline, answers_of_all = asked.baseline, asked.baseline.all_answers
    items = [item for group in baseline.groups for item in items_of(asked.reader, group.inputs)]
    whole = AskedItems(asked.reader, baseline.describe, items, asked.id2label)
    places = {output.name: whole.places(output) for output in stored.graph.outputs}
    for prefix, file, device in runs_of(stored, asked.gpu):
        session = _small_session(file, device)
        alone = None
        for name, batch, reverse, extra in LAYOUTS:
            answers = _run(session, stored.graph, asked.reader, items, batch, reverse, extra)
            for what, who, reference in ((name, "PyTorch", answers_of_all), (f"{name}, and alone", "alone", alone)):
                for output in stored.graph.outputs if reference is not None else ():
                    pairs = zip(reference[output.name], answers[output.name], strict=True)
                    where = whole.in_batches(output, batch, reverse, who)
                    difference = compare(output.name, pairs, baseline.tolerances[output.name], where)
                    yield ParityCheck(prefix + what, difference)
            alone = alone or answers
        number, row = whole.longest()
        longest = asked.reader.feeds([row])
        of_longest = {name: replace(own, items=(number,) * 2) for name, own in places.items()}
        yield from edge_checks(session, stored.graph, longest, baseline.tolerances, prefix, of_longest)
        yield from calibration_checks(session, stored.graph, asked, prefix, places)
        del session


def calibration_checks(
    session: Any, graph: Graph, asked: ParityInputs, prefix: str, places: Mapping[str, Places]
) -> Iterator[ParityCheck]:
    """That the user's own calibration inputs give no NaN and no infinity. `places`: of each output."""
    if not asked.calibration.own:
        return
    names = [output.name for output in graph.outputs]
    types = {value.name: np.float16 for value in graph.inputs if value.dtype == "FLOAT16"}
    calls = (
        {name: array.astype(types.get(name, array.dtype)) for name, array in feeds.items()}
        for feeds in asked.calibration.feeds
    )
    answers = [session.run(names, feeds) for feeds in calls]
    for index, name in enumerate(names):
        where = places_of_calibration(asked.calibration, places[name], asked.reader)
        yield ParityCheck(f"{prefix}{CALIBRATION}", finite(name, (arrays[index] for arrays in answers), where))


def runs_of(stored: StoredGraph, gpu: bool) -> list[tuple[str, Path, str]]:
    """The files to measure and on which device, with what is said of each: of an fp16 graph the twin and itself."""
    on_gpu = [(ON_GPU, stored.path, "cuda")] if gpu else []
    if stored.has_twin:
        return [("rounded to fp16: ", stored.twin, "cpu"), ("as served: ", stored.path, "cpu"), *on_gpu]
    return [("", stored.path, "cpu"), *on_gpu]


def require_parity(report: ParityReport, asked: ParityRequest | None = None) -> ParityReport:
    """The report, if it passed. Raises ParityError, which names the first check out of tolerance, the value to blame, and what
    to try that was not `asked` for."""
    for check in report.checks:
        if not check.difference.passed:
            difference = check.difference
            where = f" – {difference.worst.sentence('exported')}" if difference.worst else ""
            said = f"{check.name}, output {difference.output}: {'; '.join(difference.breaches)}{where}"
            advice = f". {advice_of(asked, check)}" if asked is not None else ""
            error = ParityError(f"the exported model is not the trained one: {said}{advice}")
            error.report = report
            raise error
    return report


def measure_call_overhead(
    stored: StoredGraph, baseline: Baseline, reader: Preprocessor, threads: int, gpu: bool = False
) -> int:
    """What one more call of the graph costs on this machine, in tokens of padding: on its GPU, or with `threads` (0: all).

    Times calls of different rows and tokens (an image always has as many), see `fit_call_overhead`.
    """
    lengths, batches, most = _ON_GPU if gpu else _ON_CPU
    session = open_on(str(stored.path), "cuda", 0, 0) if gpu else open_session(str(stored.path), threads)
    row = items_of(reader, {name: values[:1] for name, values in baseline.inputs.items()})[0].rows[0]
    free = {value.name: value.dims.index("sequence") for value in stored.graph.inputs if "sequence" in value.dims}
    example = {name: array * (name != "mask_positions") for name, array in reader.feeds([row]).items()}
    lengths = sorted({min(length, reader.encoder.max_length) for length in lengths}) if free else [reader.length(row)]
    sizes, seconds = [], []
    for tokens in lengths:
        for rows in batches:
            shapes = {name: [rows, *array.shape[1:]] for name, array in example.items()}
            for name, axis in free.items():
                shapes[name][axis] = tokens
            feeds = {name: np.resize(array, shapes[name]) for name, array in example.items()}
            times = []
            for _ in range(6):
                began = time.perf_counter()
                session.run(None, feeds)
                times.append(time.perf_counter() - began)
            sizes.append(rows * tokens)
            seconds.append(min(times))
    return fit_call_overhead(sizes, seconds, most)


def _small_session(path: Path, device: str) -> onnxruntime.InferenceSession:
    """A session that takes little of this machine's memory, at the price of speed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return open_on(str(path), device, 0, 0, options)


def _run(
    session: onnxruntime.InferenceSession,
    graph: Graph,
    reader: Preprocessor,
    items: Sequence[Item],
    batch: int,
    reverse: bool,
    extra: int,
) -> dict[str, list[np.ndarray]]:
    """Each output of each item, cut to its own tokens, in the order of `items`."""
    rows = [row for item in items for row in item.rows]
    results: dict[str, list] = {output.name: [None] * len(rows) for output in graph.outputs}
    for indices in _batches(len(rows), batch, reverse):
        arrays = session.run(list(results), reader.feeds([rows[index] for index in indices], extra))
        for output, array in zip(graph.outputs, arrays, strict=True):
            for position, index in enumerate(indices):
                results[output.name][index] = array[position][: reader.extent(rows[index], output.per)]
    ends = np.cumsum([len(item.rows) for item in items])
    return {
        name: [joined(own[end - len(item.rows) : end]) for item, end in zip(items, ends, strict=True)]
        for name, own in results.items()
    }


def _batches(count: int, size: int, reverse: bool) -> Iterator[list[int]]:
    indices = list(range(count))[:: -1 if reverse else 1]
    return (indices[start : start + size] for start in range(0, count, size))
