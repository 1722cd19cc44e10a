"""Fused attention against plain ops, on the CPU: `make bench-attention`.

Encoders of six layers, 384 wide, with random weights, in fp32. Each form is timed in processes of its own, in turns; a figure is
the median over the rounds, and a ratio below 1 means that the fused form is faster.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.encoder import export_graph
from hf2triton.triton_models.executors import open_session

from ..support import ASSETS

FORMS = ("fused", "standard")
#: (rows, tokens) of the calls. The last row of each is padded to half of its length.
SIZES = ((1, 16), (1, 128), (8, 128), (1, 512), (8, 512))
WIDE = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
_WINDOWS = {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"] * 2, "local_attention": 128}
#: family -> the trained checkpoint whose tokenizer and settings it has, and what is different
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert-sentiment", {}),
    "mpnet": ("mpnet-sentiment", {}),
    "deberta-v2": ("deberta-v2-sentiment", {"position_buckets": 256}),
    "modernbert": ("modernbert-mlm", {**_WINDOWS, "intermediate_size": 576}),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.attention", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--time", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.time:
        print(json.dumps(_times(options.time, options.threads)))
        return
    print("family", *(f"{rows}x{tokens}" for rows, tokens in SIZES), sep="\t")
    for family in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            graphs = _graphs(family, Path(folder))
            rounds = [[_timed(graphs[form], options.threads) for form in FORMS] for _ in range(options.rounds)]
        fused, plain = np.median(rounds, axis=0)
        cells = [f"{one:.1f} / {other:.1f} ms = {one / other:.2f}" for one, other in zip(fused, plain, strict=True)]
        print(family, *cells, sep="\t", flush=True)


def _graphs(family: str, folder: Path) -> dict[str, Path]:
    """Form -> the graph of the last hidden states."""
    from transformers import AutoConfig, AutoModel

    asset, settings = MODELS[family]
    source = folder / "checkpoint"
    shutil.copytree(ASSETS / asset, source)
    config = AutoConfig.from_pretrained(source, max_position_embeddings=520, **{**WIDE, **settings})
    AutoModel.from_config(config).save_pretrained(source)
    checkpoint = load_checkpoint(find_source(str(source)), "feature-extraction")
    [endpoint] = checkpoint.task.endpoints
    paths = {}
    for form in FORMS:
        paths[form] = folder / f"{form}.onnx"
        save_graph(fit(clean(export_graph(checkpoint, endpoint, form, OPSET)), None).model, paths[form])
    return paths


def _timed(graph: Path, threads: int) -> list[float]:
    command = [sys.executable, "-m", "tests.benchmarks.attention", "--time", str(graph), "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _times(graph: Path, threads: int) -> list[float]:
    """Milliseconds of a call of each size."""
    session = open_session(str(graph), threads)
    names = [value.name for value in session.get_inputs()]
    return [_median(session, _feeds(names, *size)) for size in SIZES]


def _feeds(names: list[str], rows: int, tokens: int) -> dict[str, np.ndarray]:
    mask = np.ones((rows, tokens), np.int64)
    if rows > 1:
        mask[-1, tokens // 2 :] = 0
    ids = np.random.default_rng(0).integers(5, 1000, mask.shape)
    return {name: {"input_ids": ids, "attention_mask": mask}.get(name, np.zeros_like(ids)) for name in names}


def _median(session: Any, feeds: dict[str, np.ndarray]) -> float:
    times = []
    session.run(None, feeds)
    while len(times) < 3 or (len(times) < 20 and sum(times) < 1):
        began = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    main()
