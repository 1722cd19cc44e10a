"""The front of a model: texts or images in, the task's tensors out.

Triton's dynamic batcher hands over what has queued up, whatever the texts' lengths (each is a STRING [1]). The requests
are read together, cut into calls of similar length, run, and answered in the order of arrival. What is wrong with a
request, or makes a call of the graph fail, fails that request alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from .planner import Limits, schedule
from .reader import Item, joined
from .readers import make_reader
from .rows import each_row
from .runners import make_runner


class TritonPythonModel:
    """Named and shaped as Triton's Python backend asks for. Its settings lie beside it in front.json."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = os.path.join(args["model_repository"], args["model_version"])
        settings = json.loads(_read(folder, "front.json"))
        parameters = json.loads(args["model_config"]).get("parameters", {})
        threads = int(parameters.get("intra_op_thread_count", {}).get("string_value") or 0)
        self.outputs: Mapping[str, str] = settings["outputs"]
        self.limits = Limits(**settings["limits"])
        self.reader = make_reader(settings["reader"], _read(folder, "tokenizer.json"))
        self.answers = self.reader.answers()
        self.runner = make_runner(settings["runner"], folder, threads)

    def execute(self, requests: list) -> list:
        values: list[Any] = []
        spans: dict[int, slice] = {}
        responses: list = [None] * len(requests)
        for index, request in enumerate(requests):
            try:
                own = self.reader.values(self._inputs(request))
            except ValueError as error:
                responses[index] = _failure(error, triton.TritonError.INVALID_ARG)
                continue
            spans[index] = slice(len(values), len(values) + len(own))
            values += own
        wanted = {name for request in requests for name in request.requested_output_names()}
        items = each_row(lambda start, stop: self.reader.items(values[start:stop], wanted), len(values))
        outputs = self._run(items, self._needed(wanted))
        for index, span in spans.items():
            try:
                responses[index] = self._respond(requests[index], items[span], outputs[span])
            except Exception as error:
                responses[index] = _failure(f"the answer could not be made: {error}", triton.TritonError.INTERNAL)
        return responses

    def _inputs(self, request: triton.InferenceRequest) -> dict[str, np.ndarray]:
        tensors = {name: triton.get_input_tensor_by_name(request, name) for name in self.reader.inputs}
        return {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}

    def _needed(self, wanted: set[str]) -> list[str]:
        """The graph's outputs that the outputs asked for are, or are made of."""
        sources = {source for name in wanted for source in self.reader.made_of.get(name, (name,))}
        return [name for name in self.outputs if name in sources]

    def _run(self, items: Sequence[Item | Exception], needed: list[str]) -> list[dict[str, list] | Exception]:
        """For each item its rows' outputs, without padding, or the error that it ended in."""
        rows = [(index, row) for index, item in enumerate(items) if isinstance(item, Item) for row in item.rows]
        results: list[Any] = [{name: [] for name in needed} if isinstance(item, Item) else item for item in items]
        if not rows or not needed:
            return results
        work = schedule([self.reader.length(row) for _, row in rows], self.limits, self.runner.workers)
        calls = [self.reader.feeds([rows[index][1] for index in group]) for group in work.groups]
        arrays: list[Any] = [None] * len(rows)
        for group, given in zip(work.groups, self.runner.run(needed, calls, work.side_by_side), strict=True):
            for index, row_arrays in zip(group, given, strict=True):
                arrays[index] = row_arrays
        # in the order of the rows, so that an item's windows stay in theirs
        for (index, row), own in zip(rows, arrays, strict=True):
            if isinstance(own, Exception):
                results[index] = RuntimeError(f"the graph failed: {own}")
            elif not isinstance(results[index], Exception):
                for name, array in zip(needed, own, strict=True):
                    results[index][name].append(array[: self.reader.extent(row, self.outputs[name])])
        return results

    def _respond(
        self, request: triton.InferenceRequest, items: Sequence[Item], outputs: Sequence[Any]
    ) -> triton.InferenceResponse:
        """The outputs that the request asked for, or the first error of its items."""
        for position, result in enumerate(outputs):
            if isinstance(result, ValueError):
                return _failure(f"input {position}: {result}", triton.TritonError.INVALID_ARG)
            if isinstance(result, Exception):
                return _failure(f"input {position}: {result}", triton.TritonError.INTERNAL)
        return triton.InferenceResponse(
            [
                triton.Tensor(name, _stacked([self._tensor(name, *pair) for pair in zip(items, outputs, strict=True)]))
                for name in request.requested_output_names()
            ]
        )

    def _tensor(self, name: str, item: Item, outputs: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
        """One output of one item, without the batch dimension."""
        if name in self.answers:
            return self.answers[name](item, outputs)
        return joined(outputs[name])


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays `[n, …]` as one `[rows, longest n, …]`; the shorter are filled up with zeros or empty strings."""
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    longest = max(len(array) for array in arrays)
    fill = b"" if arrays[0].dtype == np.object_ else 0
    stacked = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill, dtype=arrays[0].dtype)
    for index, array in enumerate(arrays):
        stacked[index, : len(array)] = array
    return stacked


def _read(folder: str, name: str) -> str | None:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:  # fronts of images have no tokenizer
        return None


def _failure(error: object, code: int) -> triton.InferenceResponse:
    return triton.InferenceResponse(error=triton.TritonError(str(error), code))
