"""Proves a graph: the same texts as PyTorch was asked, run alone, padded, permuted; and the price of a call, on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from hf2triton_client.baseline import Baseline
from hf2triton_client.compare import compare

from .artifacts import ParityCheck, ParityReport, StoredGraph
from .errors import ParityError
from .repository.fronts.runners import open_session
from .repository.fronts.text import TextEncoder

#: How rows are put together: (name, rows of a batch, in reverse order, extra columns of padding).
LAYOUTS = (
    ("one row, no padding", 1, False, 0),
    ("batches of 8, padded", 8, False, 0),
    ("batches of 5 in reverse, padded further", 5, True, 7),
)


def measure_parity(
    stored: StoredGraph, fp32_weight_bytes: int, baseline: Baseline, encoder: TextEncoder
) -> ParityReport:
    """Runs a stored graph on the CPU and compares with PyTorch's answers.

    An fp16 graph is measured twice: on a twin that rounds where a GPU would (the CPU provider hides fp16 overflow), and
    as it is.
    """
    graph, rows = stored.graph, encoder.encode(baseline.texts)
    runs = [("", stored.path)]
    if stored.has_twin:
        runs = [("rounded to fp16: ", stored.twin), ("as served: ", stored.path)]
    checks = []
    for prefix, file in runs:
        session = _small_session(file)
        for name, batch, reverse, extra in LAYOUTS:
            outputs = _run(session, graph.per == "token", encoder, rows, batch, reverse, extra)
            pairs = zip(baseline.answers[graph.output], outputs, strict=True)
            difference = compare(graph.output, pairs, baseline.tolerances[graph.output])
            checks.append(ParityCheck(prefix + name, difference))
        del session
    return ParityReport(tuple(checks), stored.weight_bytes, fp32_weight_bytes)


def require_parity(report: ParityReport) -> ParityReport:
    """The report, if it passed. Raises ParityError, which names the first check out of tolerance."""
    for check in report.checks:
        if not check.difference.passed:
            error = ParityError(
                f"the exported model is not the trained one: {check.name}, output {check.difference.output}:"
                f" {'; '.join(check.difference.breaches)}. Try --precision fp32"
            )
            error.report = report
            raise error
    return report


def measure_call_price(stored: StoredGraph, encoder: TextEncoder, threads: int) -> int:
    """What one more call of the graph costs on this machine, in tokens of padding, with `threads` (0: all) to a call.

    Times batches of 1 to 8 rows of 8 to 64 tokens and fits `time = a + b · rows · tokens`; the price is a / b, kept
    between 0 and 256 and rounded to 4, so that small disturbances do not change it.
    """
    session = open_session(str(stored.path), threads)  # as the front opens it
    [row] = encoder.encode(
        ["the of and to in is it you that he was for on are with as his they be at one have this from"]
    )
    sizes, seconds = [], []
    for tokens in (8, 16, 32, 64):
        for rows in (1, 2, 4, 8):
            feeds = {
                name: np.resize(array, (rows, min(tokens, encoder.max_length)))
                for name, array in encoder.feeds([row]).items()
            }
            times = []
            for _ in range(6):
                began = time.perf_counter()
                session.run(None, feeds)
                times.append(time.perf_counter() - began)
            sizes.append(next(iter(feeds.values())).size)
            seconds.append(min(times))
    # relative errors count: small calls are what the price is about
    weights = 1 / np.array(seconds)
    per_token, per_call = np.polyfit(sizes, seconds, 1, w=weights)
    price = per_call / per_token if per_token > 0 else 0.0
    return int(np.clip(round(price / 4) * 4, 0, 256))


def _small_session(path: Path) -> onnxruntime.InferenceSession:
    """A CPU session that takes little memory, at the price of speed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(
    session: onnxruntime.InferenceSession,
    per_token: bool,
    encoder: TextEncoder,
    rows: Sequence[Any],
    batch: int,
    reverse: bool,
    extra: int,
) -> list[np.ndarray]:
    """Each row's output, cut to its own tokens where it is per token, in the order of `rows`."""
    outputs: list[np.ndarray | None] = [None] * len(rows)
    for indices in _batches(len(rows), batch, reverse):
        [result] = session.run(None, encoder.feeds([rows[index] for index in indices], extra))
        for position, index in enumerate(indices):
            outputs[index] = result[position, : len(rows[index])] if per_token else result[position]
    return outputs


def _batches(count: int, size: int, reverse: bool) -> Iterator[list[int]]:
    indices = list(range(count))[:: -1 if reverse else 1]
    return (indices[start : start + size] for start in range(0, count, size))
