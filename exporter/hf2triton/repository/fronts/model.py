"""The front of a text model: texts in, the task's tensors out.

Triton's dynamic batcher hands over what has queued up, whatever the texts' lengths (each is a STRING [1]). They are
tokenized together, cut into calls of similar length, run, and answered in the order of arrival. A request that is
malformed fails alone; when a call fails, only the requests in it do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import triton_python_backend_utils as triton
from tokenizers import Encoding, Tokenizer

from .planner import Limits, schedule
from .runners import make_runner
from .text import TextEncoder, truncated


class TritonPythonModel:
    """Named and shaped as Triton's Python backend asks for. Its settings lie beside it in front.json."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = os.path.join(args["model_repository"], args["model_version"])
        with open(os.path.join(folder, "front.json"), encoding="utf-8") as file:
            settings = json.load(file)
        parameters = json.loads(args["model_config"]).get("parameters", {})
        threads = int(parameters.get("intra_op_thread_count", {}).get("string_value") or 0)
        self.max_bytes = settings["max_text_bytes"]
        self.output, self.per_token = settings["output"], settings["per"] == "token"
        self.limits = Limits(**settings["limits"])
        self.encoder = TextEncoder(
            Tokenizer.from_file(os.path.join(folder, "tokenizer.json")),
            settings["max_length"],
            settings["pad_token_id"],
            settings["inputs"],
            self.limits.round_to,
        )
        self.runner = make_runner(settings["runner"], folder, threads)

    def execute(self, requests: list) -> list:
        texts: list[str] = []
        spans: list[tuple[int, int] | None] = []
        responses: list = [None] * len(requests)
        for index, request in enumerate(requests):
            try:
                own = self._texts(request)
            except ValueError as error:
                spans.append(None)
                responses[index] = _failure(str(error), triton.TritonError.INVALID_ARG)
                continue
            spans.append((len(texts), len(texts) + len(own)))
            texts += own
        with_offsets = any("offsets" in request.requested_output_names() for request in requests)
        rows = self.encoder.encode(texts, with_offsets) if texts else []
        answers, failures = self._run(rows)
        for index, span in enumerate(spans):
            if span is None:
                continue
            failed = [failures[row] for row in range(*span) if row in failures]
            responses[index] = (
                _failure(failed[0], triton.TritonError.INTERNAL)
                if failed
                else self._respond(requests[index], rows[slice(*span)], answers[slice(*span)])
            )
        return responses

    def _texts(self, request: triton.InferenceRequest) -> list[str]:
        """The texts of a request. Raises ValueError."""
        texts = []
        for index, value in enumerate(triton.get_input_tensor_by_name(request, "text").as_numpy().ravel()):
            if len(value) > self.max_bytes:
                raise ValueError(f"text {index} has {len(value):,} bytes; at most {self.max_bytes:,} are taken")
            try:
                texts.append(value.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ValueError(f"text {index} is not UTF-8: {error}") from None
        return texts

    def _run(self, rows: Sequence[Encoding]) -> tuple[list, dict[int, str]]:
        """Each row's output, without padding, and the errors of the rows whose call failed."""
        answers: list = [None] * len(rows)
        failures: dict[int, str] = {}
        work = schedule([len(row) for row in rows], self.limits, self.runner.workers)
        calls = [self.encoder.feeds([rows[index] for index in group]) for group in work.groups]
        outputs = self.runner.run(self.output, calls, work.shares)
        for group, output in zip(work.groups, outputs, strict=True):
            if isinstance(output, Exception):
                failures |= dict.fromkeys(group, f"the graph failed: {output}")
                continue
            for position, index in enumerate(group):
                answers[index] = output[position, : len(rows[index])] if self.per_token else output[position]
        return answers, failures

    def _respond(
        self, request: triton.InferenceRequest, rows: list[Encoding], answers: list
    ) -> triton.InferenceResponse:
        """The outputs that the request asked for; those per token are padded with zeros to its longest row."""
        make = {
            self.output: lambda: _padded(answers) if self.per_token else np.stack(answers),
            "num_tokens": lambda: np.array([[len(row)] for row in rows], dtype=np.int32),
            "num_truncated_tokens": lambda: np.array([[truncated(row)] for row in rows], dtype=np.int32),
            "tokens": lambda: _padded([_strings(row.tokens) for row in rows], b""),
            "offsets": lambda: _padded([np.array(row.offsets, dtype=np.int32) for row in rows]),
            "special_tokens_mask": lambda: _padded([np.array(row.special_tokens_mask, dtype=np.int32) for row in rows]),
        }
        return triton.InferenceResponse(
            [triton.Tensor(name, make[name]()) for name in request.requested_output_names()]
        )


def _strings(values: Sequence[str]) -> np.ndarray:
    return np.array([value.encode("utf-8") for value in values], dtype=np.object_)


def _padded(rows: Sequence[np.ndarray], fill: object = 0) -> np.ndarray:
    """Rows `[tokens, …]` of different lengths as one array `[rows, longest, …]`."""
    longest = max(len(row) for row in rows)
    array = np.full((len(rows), longest, *rows[0].shape[1:]), fill, dtype=rows[0].dtype)
    for index, row in enumerate(rows):
        array[index, : len(row)] = row
    return array


def _failure(message: str, code: int) -> triton.InferenceResponse:
    return triton.InferenceResponse(error=triton.TritonError(message, code))
