"""An entry's graph without a server: onnxruntime and the front's reader in this process, one item a call.

What the served model is compared with. As a script it prints its latency over an entry's own inputs, so that it can be
measured in a process of its own: `python -m hf2triton.in_process model_repository/NAME/1`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime

from hf2triton_client.baseline import Baseline
from hf2triton_client.benchmark import measure_latency

from .baseline import items_of
from .repository.fronts.readers import make_reader
from .repository.layout import BASELINE, FRONT, GRAPH, TOKENIZER


class InProcessModel:
    """The version in `folder`, loaded as onnxruntime loads it by default: all cores, the CPU provider."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / FRONT).read_text(encoding="utf-8"))
        tokenizer = folder / TOKENIZER
        self._reader = make_reader(settings["reader"], tokenizer.read_text("utf-8") if tokenizer.exists() else None)
        self._session = onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])

    def __call__(self, item: dict[str, str | bytes]) -> list[list[np.ndarray]]:
        """The graph's outputs for each row of an item, given as its value of each input of the front."""
        [read] = items_of(self._reader, {name: (value,) for name, value in item.items()})
        return [self._session.run(None, self._reader.feeds([row])) for row in read.rows]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    inputs = Baseline.load(folder / BASELINE).inputs
    items = [dict(zip(inputs, values, strict=True)) for values in zip(*inputs.values(), strict=True)]
    print(json.dumps(asdict(measure_latency(InProcessModel(folder), items))))
