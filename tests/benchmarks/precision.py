"""all-MiniLM-L6-v2 in each precision: bytes, agreement with PyTorch and time: `make bench-precision`.

    fp32, fp16, int8                 as `hf2triton export` makes them
    int8 without evening out         onnxruntime's dynamic quantizer on the same graph without smoothing
    int8, static (QDQ), evened out   its static quantizer (minima and maxima), smoothed and calibrated with the same texts

Times are medians of the rounds, each measurement in a process of its own, interleaved, with all cores. Cosines are the smallest
over the 30 texts that come with hf2triton, alone and in padded batches of 8.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

SHAPES = ((8, 128), (1, 16))
COLUMNS = (
    "contender",
    "MB",
    "cosine alone",
    "in batches",
    *(f"{rows}×{tokens} ms" for rows, tokens in SHAPES),
    "of fp32",
)


def write_graphs(folder: Path) -> dict[str, Path]:
    """The graph of each contender, and `inputs.npz`: what they are asked."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from hf2triton.checkpoint.loader import load_checkpoint
    from hf2triton.checkpoint.preprocessing import items_of, preprocessor_of
    from hf2triton.checkpoint.sample_inputs import parity_inputs
    from hf2triton.checkpoint.source import find_source
    from hf2triton.demo.examples import weights
    from hf2triton.graph.passes.cleaning import clean
    from hf2triton.graph.passes.release import OPSET, fit
    from hf2triton.graph.precision.conversion import with_precision
    from hf2triton.graph.precision.smooth import smooth
    from hf2triton.graph.storage import save_graph, unload
    from hf2triton.graph.tracing.encoder import export_graph

    checkpoint = load_checkpoint(find_source(str(weights())), None)
    [endpoint] = checkpoint.task.endpoints
    preprocessor = preprocessor_of(checkpoint, endpoint)
    rows = [row for item in items_of(preprocessor, parity_inputs(checkpoint, endpoint)) for row in item.rows]
    alone, batches = ([preprocessor.feeds(rows[at : at + size]) for at in range(0, len(rows), size)] for size in (1, 8))
    calls = {"alone": alone, "batches": batches}
    np.savez(
        folder / "inputs.npz",
        **{
            f"{kind}/{call}/{name}": array
            for kind in calls
            for call, feeds in enumerate(calls[kind])
            for name, array in feeds.items()
        },
    )
    graph = unload(fit(clean(export_graph(checkpoint, endpoint, "fused", OPSET)), None), folder / "weights")
    even = smooth(graph, batches, folder / "weights")
    made = {
        "fp32": graph,
        "fp16": with_precision(graph, "fp16"),
        "int8": with_precision(even, "int8"),
        "int8 without evening out": with_precision(graph, "int8"),
    }
    paths = {name: folder / f"{index}.onnx" for index, name in enumerate((*made, "int8, static (QDQ), evened out"))}
    for name, one in made.items():
        save_graph(one.model, paths[name])

    class Texts(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    ir.save(even.model, folder / "even.onnx", external_data="even.data")
    quantize_static(
        folder / "even.onnx",
        paths["int8, static (QDQ), evened out"],
        Texts(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    return paths


def answers_of(path: Path, inputs: Path) -> dict[str, np.ndarray]:
    """Embeddings of all texts, alone and in batches."""
    session, calls = _open(path), {}
    for key, array in np.load(inputs).items():
        kind, call, name = key.split("/")
        calls.setdefault(kind, {}).setdefault(int(call), {})[name] = array
    return {
        kind: np.concatenate([session.run(None, feeds)[0] for _, feeds in sorted(own.items())])
        for kind, own in calls.items()
    }


def measure(path: Path, calls: int = 40) -> list[float]:
    """Milliseconds of a call with each of SHAPES, medians."""
    session, rng = _open(path), np.random.default_rng(0)
    medians = []
    for shape in SHAPES:
        feeds = {value.name: np.zeros(shape, np.int64) for value in session.get_inputs()}
        feeds |= {"input_ids": rng.integers(1000, 20000, shape), "attention_mask": np.ones(shape, np.int64)}
        times = []
        for _ in range(calls):
            began = time.perf_counter()
            session.run(None, feeds)
            times.append((time.perf_counter() - began) * 1e3)
        medians.append(statistics.median(times[calls // 4 :]))
    return medians


def _open(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory(prefix="hf2triton-bench-") as folder:
        paths = write_graphs(Path(folder))
        answers = {name: answers_of(path, Path(folder, "inputs.npz")) for name, path in paths.items()}
        times: dict[str, list[list[float]]] = {name: [] for name in paths}
        for _ in range(options.rounds):
            for name, path in paths.items():
                command = [sys.executable, "-m", "tests.benchmarks.precision", "--measure", str(path)]
                times[name].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
        reference = answers["fp32"]["alone"]
        full = statistics.median(row[0] for row in times["fp32"])
        for name, path in paths.items():
            medians = [statistics.median(column) for column in zip(*times[name], strict=True)]
            cosines = [float((reference * answers[name][kind]).sum(axis=1).min()) for kind in ("alone", "batches")]
            cells = [name, f"{path.stat().st_size / 1e6:.1f}", *(f"{cosine:.4f}" for cosine in cosines)]
            print("| " + " | ".join([*cells, *(f"{one:.1f}" for one in medians), f"{medians[0] / full:.2f}"]) + " |")


if __name__ == "__main__":
    main()
