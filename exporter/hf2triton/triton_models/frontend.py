"""The frontend of a model: texts or images in, the task's tensors out.

Triton's dynamic batcher hands over what has queued up, whatever the lengths of the texts (each is a STRING [1]). The frontend
reads the requests together, cuts them into calls of similar length, runs these, and answers in the order of arrival. A request
that is invalid, or that makes a call of the graph fail, fails alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from numpy.typing import NDArray

from .admission import MAX_WAIT, Admission
from .backlog import Backlog, metrics_port
from .batch_planner import Limits, schedule
from .callers import SAMPLE, Callers, Gone
from .executors import make_executor
from .fingerprint import OUTPUT, fingerprint
from .memory import reuse_blocks
from .outgoing import message
from .preprocessor import Item, Outputs, joined
from .preprocessors import make_preprocessor
from .rows import Busy, each_row

#: An item and, for each output of the graph, what was kept of each of its rows.
Answered = tuple[Item, Mapping[str, list[Any]]]
#: The same, or the error that the item ended in.
Result = Answered | Exception
#: Makes an output from an item and its graph outputs.
Answer = Callable[[Item, Outputs], NDArray[Any]]
#: Whether anybody waits for one of these items.
Awaited = Callable[[Iterable[int]], bool]


class TritonPythonModel:
    """Named and shaped as Triton's Python backend requires. Its settings are beside it in front.json."""

    def initialize(self, args: dict[str, str]) -> None:
        reuse_blocks()
        folder = Path(args["model_repository"], args["model_version"])
        settings = json.loads((folder / "front.json").read_text(encoding="utf-8"))
        config = json.loads(args["model_config"])
        parameters = {name: value.get("string_value") for name, value in config.get("parameters", {}).items()}
        threads = int(parameters.get("intra_op_thread_count") or 0)
        self.outputs: Mapping[str, str] = settings["outputs"]
        self.limits = Limits(**settings["limits"])
        self.preprocessor = make_preprocessor(settings["reader"], _read(folder / "tokenizer.json"))
        self.answers: Mapping[str, Answer] = {
            **self.preprocessor.answers(),
            OUTPUT: _constant(fingerprint(args["model_config"])),
        }
        self.executor = make_executor(settings["runner"], folder, threads)
        self.admission = Admission(
            Backlog(args["model_name"], args["model_version"], metrics_port()).count,
            float(parameters.get("max_wait_seconds") or MAX_WAIT),
            max(int(config.get("max_batch_size", 0)), 1),
            sum(int(group.get("count", 1)) for group in config.get("instance_group", ())) or 1,
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Returns a response for each request, with only that request's errors. Raises nothing, because Triton would send the
        exception to all callers of the batch, including the paths of the server's files."""
        computed = 0
        try:
            if overloaded := self.admission.begin(len(requests)):
                return [_refusal(overloaded) for _ in requests]
            callers, questions = Callers(requests), self.admission.questions(len(requests))
            self.admission.answered(*callers.ask(questions))
            responses = self._responses(requests, callers)
            computed = callers.there
            self.admission.answered(*callers.ask(min(questions, SAMPLE)))
            return responses
        except BaseException as error:
            return [_refusal(RuntimeError(f"the batch failed: {message(error)}")) for _ in requests]
        finally:
            self.admission.end(computed)

    def _responses(self, requests: Sequence[triton.InferenceRequest], callers: Callers) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        # requests for the same outputs go together, so no request keeps large outputs that only another request wants
        asked: dict[frozenset[str], list[tuple[int, Sequence[str], list[Any]]]] = {}
        for index, request in enumerate(requests):
            if callers.has_left(index):
                responses[index] = _refusal(Gone())
                continue
            try:
                names: Sequence[str] = list(request.requested_output_names())
                own = self.preprocessor.values(self._inputs(request))
            except BaseException as error:
                responses[index] = _refusal(error)
            else:
                asked.setdefault(frozenset(names), []).append((index, names, own))
        for wanted, those in asked.items():
            results = iter(self._answer(wanted, [(index, own) for index, _, own in those], callers))
            for index, names, own in those:
                responses[index] = self._respond(names, [next(results) for _ in own])
        return responses

    def _answer(
        self, wanted: Collection[str], requests: Sequence[tuple[int, Sequence[Any]]], callers: Callers
    ) -> list[Result]:
        """The results of all values of some requests. The requests come with their indices in the batch."""
        values = [value for _, own in requests for value in own]
        owners = [index for index, own in requests for _ in own]

        def results_of(start: int, stop: int) -> list[Result]:
            return self._results(
                values[start:stop], wanted, lambda those: callers.wait(owners[start + one] for one in those)
            )

        # known failures are handled within; this is for everything else that may be raised
        return each_row(results_of, len(values))

    def _inputs(self, request: triton.InferenceRequest) -> dict[str, NDArray[Any]]:
        """The inputs, all with the same number of rows. Raises ValueError, because Triton itself only counts the inputs."""
        tensors = {name: triton.get_input_tensor_by_name(request, name) for name in self.preprocessor.inputs}
        arrays = {name: tensor.as_numpy() for name, tensor in tensors.items() if tensor is not None}
        missing = [name for name, required in self.preprocessor.inputs.items() if required and name not in arrays]
        if missing:
            raise ValueError(f"the input {' and '.join(missing)} is missing: there is only {' and '.join(arrays)}")
        rows = {name: array.size for name, array in arrays.items()}
        if len(set(rows.values())) > 1 or 0 in rows.values():
            counts = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise ValueError(f"all inputs must have the same number of rows, at least one: there are {counts}")
        return arrays

    def _results(self, values: Sequence[Any], wanted: Collection[str], awaited: Awaited) -> list[Result]:
        items = each_row(lambda start, stop: self.preprocessor.items(values[start:stop], wanted), len(values))
        outputs = self._run(items, wanted, awaited)
        return [own if isinstance(own, Exception) else (item, own) for item, own in zip(items, outputs, strict=True)]

    def _needed(self, wanted: Collection[str]) -> list[str]:
        """The graph outputs that the requested outputs consist of or are made from."""
        sources = {source for name in wanted for source in self.preprocessor.made_of.get(name, (name,))}
        return [name for name in self.outputs if name in sources]

    def _run(
        self, items: Sequence[Item | Exception], wanted: Collection[str], awaited: Awaited
    ) -> list[dict[str, list[Any]] | Exception]:
        """The outputs of each item's rows, without padding, or the item's error."""
        rows = [(index, row) for index, item in enumerate(items) if isinstance(item, Item) for row in item.rows]
        results: list[Any] = [{} if isinstance(item, Item) else item for item in items]
        needed = self._needed(wanted)
        if not rows or not needed:
            return results
        work = schedule([self.preprocessor.length(row) for _, row in rows], self.limits, self.executor.workers)
        calls = [self.preprocessor.feeds([rows[index][1] for index in group]) for group in work.groups]
        arrays: list[Any] = [None] * len(rows)
        runs = self.executor.run(
            needed,
            calls,
            work.side_by_side,
            lambda call: awaited({rows[row][0] for row in work.groups[call]}),
            lambda call, place, arrays: self._kept(rows[work.groups[call][place]][1], needed, arrays, wanted),
        )
        for group, given in zip(work.groups, runs, strict=True):
            for index, row_arrays in zip(group, given, strict=True):
                arrays[index] = row_arrays
        # in the order of the rows, so that an item's windows stay in order
        for (index, _), own in zip(rows, arrays, strict=True):
            if isinstance(own, Exception):
                results[index] = own if isinstance(own, Gone) else _of_graph(own)
            elif not isinstance(results[index], Exception):
                for name, value in own.items():
                    results[index].setdefault(name, []).append(value)
        return results

    def _kept(
        self, row: Any, needed: Sequence[str], arrays: Sequence[NDArray[Any]], wanted: Collection[str]
    ) -> Mapping[str, Any] | Exception:
        """What is kept of a row: its outputs without padding, or the parts that its answer needs."""
        outputs = {
            name: array[: self.preprocessor.extent(row, self.outputs[name])]
            for name, array in zip(needed, arrays, strict=True)
        }
        try:
            return self.preprocessor.reduced(row, outputs, wanted)
        except Exception as error:
            return error

    def _respond(self, names: Sequence[str], results: Sequence[Result]) -> triton.InferenceResponse:
        """The requested outputs, or the first error of the request's items."""
        answered: list[Answered] = []
        for position, result in enumerate(results):
            if isinstance(result, Exception):
                return _refusal(result, f"input {position}: ")
            answered.append(result)
        try:
            return triton.InferenceResponse(
                [triton.Tensor(name, _stacked([self._tensor(name, *own) for own in answered])) for name in names]
            )
        except BaseException as error:
            return _refusal(RuntimeError(f"the answer could not be made: {message(error)}"))

    def _tensor(self, name: str, item: Item, outputs: Outputs) -> NDArray[Any]:
        """One output of one item, without the batch dimension."""
        if name in self.answers:
            return self.answers[name](item, outputs)
        return joined(outputs[name])


def _constant(value: int | None) -> Answer:
    """Answers each item with the same number."""
    array = np.array([value or 0], np.int64)
    return lambda item, outputs: array


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays `[n, …]` as one `[rows, longest n, …]`; shorter ones are padded with zeros or empty strings."""
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    longest = max(len(array) for array in arrays)
    fill = b"" if arrays[0].dtype == np.object_ else 0
    stacked = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill, dtype=arrays[0].dtype)
    for index, array in enumerate(arrays):
        stacked[index, : len(array)] = array
    return stacked


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:  # frontends of images have no tokenizer
        return None


def _of_graph(error: Exception) -> Exception:
    kind = Busy if isinstance(error, Busy) else RuntimeError
    return kind(f"the graph failed: {message(error)}")


#: Errors -> Triton's code.
_CODES = ((ValueError, "INVALID_ARG"), (Busy, "UNAVAILABLE"), (Gone, "CANCELLED"), (BaseException, "INTERNAL"))


def _refusal(error: BaseException, before: str = "") -> triton.InferenceResponse:
    """The response to a request that ended in an error."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    # Triton adds the codes to the class after this file was imported
    return triton.InferenceResponse(
        error=triton.TritonError(before + message(error), getattr(triton.TritonError, code))
    )
