"""An entry's graph without a server: onnxruntime and the tokenizer in this process, one text a call.

What the served model is compared with. As a script it prints its latency over an entry's own texts, so that it can be
measured in a process of its own: `python -m hf2triton.in_process model_repository/NAME/1`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from hf2triton_client.baseline import Baseline
from hf2triton_client.benchmark import measure_latency

from .repository.fronts.text import TextEncoder
from .repository.layout import BASELINE, FRONT, GRAPH, TOKENIZER


class InProcessModel:
    """The version in `folder`, loaded as onnxruntime loads it by default: all cores, the CPU provider."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / FRONT).read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._encoder = TextEncoder(tokenizer, settings["max_length"], settings["pad_token_id"], settings["inputs"])
        self._session = onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])
        self._outputs = [settings["output"]]

    def __call__(self, text: str) -> np.ndarray:
        """The task's output for one text, without the batch dimension."""
        return self._session.run(self._outputs, self._encoder.feeds(self._encoder.encode([text])))[0][0]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(json.dumps(asdict(measure_latency(InProcessModel(folder), Baseline.load(folder / BASELINE).texts))))
