"""Runs a graph in the onnxruntime of an isolated environment, which has numpy and onnxruntime but not hf2triton.

    python -I run_graph.py JOB.json

The job, as verify.py writes it: `graph`, the file; `calls`, an .npz with an array `CALL/INPUT` for each input of each call;
`answers`, the .npz to write, with an array `CALL/OUTPUT` for each of `outputs`. A decoder's past is empty where a call omits it.
`session`: further entries of the session's config. `slots`, for decoders: see `_steps`. The outcome is printed as JSON,
`{"error": …}`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

PAST = "past_key_values."
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def main(path: str) -> None:
    with Path(path).open(encoding="utf-8") as file:
        job = json.load(file)
    error = None
    try:
        np.savez(job["answers"], **_answers(job))  # pyright: ignore[reportArgumentType] # none is named allow_pickle
    except Exception as caught:  # onnxruntime's errors have no common base except Exception
        error = f"{type(caught).__name__}: {str(caught).strip()}".splitlines()[0]
    print(json.dumps({"error": error}))


def _answers(job: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in job["session"].items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(job["graph"], options, providers=["CPUExecutionProvider"])
    empty = {value.name: _nothing(value) for value in session.get_inputs() if value.name.startswith(PAST)}
    calls: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for key, array in np.load(job["calls"]).items():
        call, name = key.split("/", 1)
        calls.setdefault(call, {})[name] = array
    answers = {}
    for call, feeds in calls.items():
        arrays = session.run(job["outputs"], {**empty, **feeds})
        answers.update({f"{call}/{name}": array for name, array in zip(job["outputs"], arrays)})  # noqa: B905 (Python 3.9)
    return {**answers, **(_steps(**job["slots"], graph=job["graph"]) if "slots" in job else {})}


def _nothing(value: onnxruntime.NodeArg) -> npt.NDArray[Any]:
    """An empty past `[batch, heads, past, head size]` for one row."""
    _, heads, _, head_size = value.shape
    return np.zeros((1, heads, 0, head_size), DTYPES[value.type])


def _steps(
    graph: str, code: str, in_place: bool, piece: int, texts: list[list[list[int]]]
) -> dict[str, npt.NDArray[Any]]:
    """Runs texts (a prompt and what follows it) side by side, as the entry's own `code` serves them: prompts fill their slots in
    pieces, then each step appends a token to all. Returns `slots/TEXT`: the logits of what follows, `[steps, vocabulary]`."""
    entry, version = os.path.split(code)
    sys.path.insert(0, entry)
    serving = importlib.import_module(f"{version}.generation.decoder")  # the way Triton imports a version's folder
    longest = max(len(prompt) + len(tokens) for prompt, tokens in texts)
    decoder = serving.make_decoder(serving.open_session(graph, "cpu", 0, 0), len(texts), longest, in_place=in_place)
    for slot, (prompt, _) in enumerate(texts):
        for start in range(0, len(prompt) - 1, piece):
            decoder.prefill(slot, prompt[start : min(start + piece, len(prompt) - 1)], start)
    lengths = [len(prompt) - 1 for prompt, _ in texts]
    rows = []
    for step in range(len(texts[0][1])):
        fed = [[prompt[-1], *tokens][step] for prompt, tokens in texts]
        rows.append(decoder.step(fed, [length + step for length in lengths]).copy())
    return {f"slots/{index}": np.stack(own) for index, own in enumerate(zip(*rows))}  # noqa: B905 (Python 3.9)


if __name__ == "__main__":
    main(sys.argv[1])
