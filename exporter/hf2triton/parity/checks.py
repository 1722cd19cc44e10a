"""Proves a graph: runs PyTorch's inputs again, alone, padded and permuted. Also measures call overhead."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import compare, finite
from hf2triton_client.evaluation.places import Places

from ..checkpoint.preprocessing import as_text_preprocessor, items_of
from ..core.types import Graph, ParityCheck, ParityReport, StoredGraph
from ..errors import ParityError
from ..triton_models.executors import open_session
from ..triton_models.preprocessor import Item, Preprocessor, joined
from ..triton_models.sessions import open_session as open_on
from ..triton_models.sessions import session_options
from .advice import CALIBRATION, ON_GPU, ParityRequest, advice_of
from .calibration_inputs import Calibration
from .call_overhead import MOST_ON_CPU, MOST_ON_GPU, fit_call_overhead
from .edge_cases import edge_checks
from .places import AskedItems, places_of_calibration

#: How rows are batched: (name, rows of a batch, in reverse order, extra columns of padding). All layouts are compared with
#: PyTorch, and the later ones also with the first. 30 texts leave some batches incomplete, with odd sizes and lengths.
LAYOUTS = (
    ("one row, no padding", 1, False, 0),
    ("in pairs, padded", 2, False, 0),
    ("batches of 8, padded", 8, False, 0),
    ("batches of 5 in reverse, padded further", 5, True, 7),
)
#: Output -> its array for each item.
Answers = Mapping[str, Sequence[NDArray[Any]]]
#: Lengths and rows of the calls for measuring the overhead, and its upper limit.
_ON_CPU = (8, 16, 32, 64), (1, 2, 4, 8), MOST_ON_CPU
_ON_GPU = (8, 32, 128), (1, 4, 16, 64), MOST_ON_GPU


@dataclass(frozen=True)
class ParityInputs:
    """The inputs of the checks: the baseline's, as the frontend's `preprocessor` reads them, and the calibration's. PyTorch
    has no answers for the latter; if the user gave them, the graph must not answer with NaN or infinity. `gpu`: run the graph
    on the GPU too. `id2label`: the head's labels."""

    baseline: Baseline
    preprocessor: Preprocessor
    calibration: Calibration
    gpu: bool = False
    id2label: Mapping[int, str] = field(default_factory=dict)


def report_of(stored: StoredGraph, checks: Iterable[ParityCheck]) -> ParityReport:
    """The report of all checks of a stored graph."""
    return ParityReport(tuple(checks), stored.weight_bytes, stored.fp32_weight_bytes)


def checks_of(stored: StoredGraph, asked: ParityInputs) -> Iterator[ParityCheck]:
    """Runs a stored graph and compares it with PyTorch's answers. Yields one check at a time: a caller can stop at the first
    failure.

    An fp16 graph is measured twice on the CPU: as a twin that rounds where a GPU would (the CPU provider hides fp16 overflow),
    and unchanged. With `asked.gpu`, it is measured on the GPU too.
    """
    baseline, answers_of_all = asked.baseline, asked.baseline.all_answers
    items = [item for group in baseline.groups for item in items_of(asked.preprocessor, group.inputs)]
    whole = AskedItems(asked.preprocessor, baseline.describe, items, asked.id2label)
    places = {output.name: whole.places(output) for output in stored.graph.outputs}
    for prefix, file, device in runs_of(stored, asked.gpu):
        session = _small_session(file, device)
        alone: Answers | None = None
        for name, batch, reverse, extra in LAYOUTS:
            answers = _run(session, stored.graph, asked.preprocessor, items, batch, reverse, extra)
            references: list[tuple[str, str, Answers]] = [(name, "PyTorch", answers_of_all)]
            references += [] if alone is None else [(f"{name}, and alone", "alone", alone)]
            for what, who, reference in references:
                for output in stored.graph.outputs:
                    pairs = zip(reference[output.name], answers[output.name], strict=True)
                    where = whole.in_batches(output, batch, reverse, who)
                    difference = compare(output.name, pairs, baseline.tolerances[output.name], where)
                    yield ParityCheck(prefix + what, difference)
            alone = alone or answers
        number, row = whole.longest()
        longest = asked.preprocessor.feeds([row])
        of_longest = {name: replace(own, items=(number,) * 2) for name, own in places.items()}
        yield from edge_checks(session, stored.graph, longest, baseline.tolerances, prefix, of_longest)
        yield from calibration_checks(session, stored.graph, asked, prefix, places)
        del session


def calibration_checks(
    session: Any, graph: Graph, asked: ParityInputs, prefix: str, places: Mapping[str, Places]
) -> Iterator[ParityCheck]:
    """Checks that the user's calibration inputs give no NaN or infinity. `places`: of each output."""
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
        where = places_of_calibration(asked.calibration, places[name], asked.preprocessor)
        yield ParityCheck(f"{prefix}{CALIBRATION}", finite(name, (arrays[index] for arrays in answers), where))


def runs_of(stored: StoredGraph, gpu: bool) -> list[tuple[str, Path, str]]:
    """The files to measure, each with a prefix for its checks and its device; for an fp16 graph, the twin and the graph."""
    on_gpu = [(ON_GPU, stored.path, "cuda")] if gpu else []
    if stored.has_twin:
        return [("rounded to fp16: ", stored.twin, "cpu"), ("as served: ", stored.path, "cpu"), *on_gpu]
    return [("", stored.path, "cpu"), *on_gpu]


def require_parity(report: ParityReport, asked: ParityRequest | None = None) -> ParityReport:
    """The report, if it passed. Raises ParityError, which names the first check out of tolerance, the value at fault, and an
    option to try that is not in `asked`."""
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
    stored: StoredGraph, baseline: Baseline, preprocessor: Preprocessor, threads: int, gpu: bool = False
) -> int:
    """The overhead of one more call of the graph on this machine, in tokens of padding: on its GPU, or with `threads` (0: all).

    Times calls with different numbers of rows and tokens (an image's tokens are fixed), see `fit_call_overhead`.
    """
    some_lengths, batches, most = _ON_GPU if gpu else _ON_CPU
    session = open_on(str(stored.path), "cuda", 0, 0) if gpu else open_session(str(stored.path), threads)
    row = items_of(preprocessor, {name: values[:1] for name, values in baseline.inputs.items()})[0].rows[0]
    free = {value.name: value.dims.index("sequence") for value in stored.graph.inputs if "sequence" in value.dims}
    example = {name: array * (name != "mask_positions") for name, array in preprocessor.feeds([row]).items()}
    lengths = [preprocessor.length(row)]
    if free:
        longest = as_text_preprocessor(preprocessor).encoder.max_length
        lengths = sorted({min(length, longest) for length in some_lengths})
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
    """A session that takes little memory but is slower, and computes what the served one computes."""
    options = session_options(0)
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return open_on(str(path), device, 0, 0, options)


def _run(
    session: onnxruntime.InferenceSession,
    graph: Graph,
    preprocessor: Preprocessor,
    items: Sequence[Item],
    batch: int,
    reverse: bool,
    extra: int,
) -> dict[str, list[NDArray[Any]]]:
    """Output -> its array for each item, in the order of `items`, cut to the item's tokens."""
    rows = [row for item in items for row in item.rows]
    results: dict[str, list[Any]] = {output.name: [None] * len(rows) for output in graph.outputs}
    for indices in _batches(len(rows), batch, reverse):
        arrays: Sequence[Any] = session.run(
            list(results), preprocessor.feeds([rows[index] for index in indices], extra)
        )
        for output, array in zip(graph.outputs, arrays, strict=True):
            for position, index in enumerate(indices):
                results[output.name][index] = array[position][: preprocessor.extent(rows[index], output.per)]
    ends = np.cumsum([len(item.rows) for item in items])
    return {
        name: [joined(own[end - len(item.rows) : end]) for item, end in zip(items, ends, strict=True)]
        for name, own in results.items()
    }


def _batches(count: int, size: int, reverse: bool) -> Iterator[list[int]]:
    indices = list(range(count))[:: -1 if reverse else 1]
    return (indices[start : start + size] for start in range(0, count, size))
