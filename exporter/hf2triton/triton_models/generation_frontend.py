"""The frontend of a generative model: prompts in, text out, whole or piece by piece.

Inputs and outputs follow Triton's generate extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md), so that HTTP `generate` and
`generate_stream` work as well as gRPC streams. The graph runs in this process, in the slots of a scheduler with its own thread.
Requests join and leave between its steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .fingerprint import OUTPUT, fingerprint
from .generation.decoder import open_decoder, require_onnxruntime
from .generation.generation_config import eos_token_ids
from .generation.request_state import Answer, RequestState, read_prompt
from .generation.response_sender import ResponseSender
from .generation.scheduler import QueueFull, Scheduler, Statistics, Stopped
from .generation.settings import Settings
from .inputs import decoded
from .memory import reuse_blocks
from .outgoing import encoded, message

FINAL = triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """Named and shaped as Triton's Python backend requires. Its settings are beside it in front.json; settings that operators may
    change are parameters of config.pbtxt."""

    def initialize(self, args: dict[str, str]) -> None:
        reuse_blocks()
        folder = Path(args["model_repository"], args["model_version"])
        about = json.loads((folder / "front.json").read_text(encoding="utf-8"))
        require_onnxruntime(about["onnxruntime"])
        parameters = json.loads(args["model_config"])["parameters"]
        numbers = {name: int(parameters[name]["string_value"]) for name in about["parameters"]}
        self.max_bytes = about["max_bytes"]
        self.context = min(numbers["max_length"] or about["context"], about["context"])
        self.defaults = Settings.of_checkpoint(about["generation"])
        self.bos_token_id = about["generation"].get("bos_token_id")
        self.eos_token_ids = eos_token_ids(about["generation"])
        self.clean_up = about["clean_up"]
        known = fingerprint(args["model_config"])
        self.stamp = {} if known is None else {OUTPUT: np.array([known], np.int64)}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        decoder = open_decoder(
            str(folder / about["graph"]),
            numbers["slots"],
            self.context,
            "cuda" if args["model_instance_kind"] == "GPU" else "cpu",
            int(args["model_instance_device_id"]),
            numbers["intra_op_thread_count"],
            about["in_place"],
        )
        triton.Logger.log_info(message(f"{args['model_name']}: {decoder}"))
        decoder.warm_up(numbers["prefill_chunk"])
        self.scheduler = Scheduler(decoder, numbers["max_queue"], numbers["prefill_chunk"]).start()
        self.metrics = Metrics({"model": args["model_name"], "version": args["model_version"]})
        self.sender = ResponseSender(
            self.scheduler, lambda seconds: self.metrics.update(self.scheduler.statistics(), seconds)
        ).start()

    def execute(self, requests: list[Any]) -> None:
        """Queues requests, or refuses those that cannot be queued."""
        # make all callers first: if a request has no sender, nothing is queued, and Triton itself ends the requests
        callers = [Caller(request, self.stamp) for request in requests]
        for request, caller in zip(requests, callers, strict=True):
            try:
                self.sender.submit(self._request_state(request), caller)
            except BaseException as error:
                self.sender.refuse(caller, error)

    def finalize(self) -> None:
        self.scheduler.stop()
        self.sender.stop()

    def _request_state(self, request: triton.InferenceRequest) -> RequestState:
        """Reads a request. Raises ValueError if it cannot be served, and QueueFull, before any work, if it cannot be served
        now."""
        within = request.timeout() / 1e6 or None  # Triton's microseconds; 0: the caller set none
        self.scheduler.require_room(within)
        given = {name: _value(request, name) for name in ("text_input", "stream", "exclude_input_in_output")}
        if given["text_input"] is None:  # Triton only counts the inputs
            raise ValueError("text_input is missing")
        stream = bool(given["stream"])
        settings = self._settings(request, given["exclude_input_in_output"])
        if stream and settings.num_return_sequences > 1:
            raise ValueError("num_return_sequences must be 1 for a stream; send several requests instead")
        if settings.num_return_sequences > self.scheduler.capacity:
            raise ValueError(
                f"num_return_sequences must be 1 to {self.scheduler.capacity}, as many as run and wait here at the same time"
            )
        text = decoded("text_input", given["text_input"], self.max_bytes)
        prompt = read_prompt(text, self.tokenizer, settings, self.context, self.bos_token_id)
        return RequestState(
            prompt, settings, self.tokenizer, self.eos_token_ids, stream, self.sender.put, self.clean_up, within
        )

    def _settings(self, request: triton.InferenceRequest, without_prompt: Any) -> Settings:
        """The settings in the JSON of `sampling_parameters`, or in the request's parameters, which HTTP clients may send."""
        text = _value(request, "sampling_parameters")
        text = None if text is None else decoded("sampling_parameters", text, self.max_bytes)
        own = {
            name: value
            for name, value in json.loads(request.parameters() or "{}").items()
            if not name.startswith("triton_")
        }
        if text is not None and own:
            raise ValueError(
                f"sampling_parameters and the request's parameters {', '.join(sorted(own))} exclude each other"
            )
        defaults = self.defaults
        if without_prompt is not None:
            defaults = replace(defaults, return_full_text=not without_prompt)
        return Settings.parse(json.dumps(own) if text is None else text, defaults)


class Caller:
    """The sender of a Triton request, a `response_sender.TextReceiver`. `stamp`: outputs that every answer has."""

    def __init__(self, request: triton.InferenceRequest, stamp: Mapping[str, NDArray[Any]]) -> None:
        self._sender = request.get_response_sender()
        # Triton frees outputs that were not asked for without holding Python's lock, which crashes on Python 3.13
        self._asked_for = frozenset(request.requested_output_names())
        self._stamp = stamp

    def send(self, answer: Answer) -> None:
        longest = max(map(len, answer.token_ids))
        token_ids = [[*row, *[0] * (longest - len(row))] for row in answer.token_ids]
        outputs = {
            **self._stamp,
            "text_output": np.array([encoded(text) for text in answer.texts], np.object_),
            "finish_reason": np.array([encoded(reason) for reason in answer.reasons], np.object_),
            "num_input_tokens": np.array([answer.prompt_tokens], np.int32),
            "num_output_tokens": np.array(answer.counts, np.int32),
            "token_ids": np.array(token_ids, np.int32).reshape(len(token_ids), longest),
        }
        if answer.logprobs is not None:
            outputs["prompt_logprobs"] = np.array(answer.logprobs, np.float32)
        tensors = [triton.Tensor(name, array) for name, array in outputs.items() if name in self._asked_for]
        response = triton.InferenceResponse(tensors)
        self._sender.send(response, flags=FINAL if answer.last else 0)

    def fail(self, error: BaseException) -> None:
        code, what = next((row for kind, *row in _ERRORS if isinstance(error, kind)), _ANY_ERROR)
        # in a gRPC stream, callers only get the text, so it includes the code
        text = f"{code}: {what}{message(error)}"
        # Triton adds its classes to the module after this file is imported
        failure = triton.TritonError(text, getattr(triton.TritonError, code))
        response = triton.InferenceResponse(error=failure)
        self._sender.send(response, flags=FINAL)

    def gone(self) -> bool:
        return bool(self._sender.is_cancelled())

    def close(self) -> None:
        self._sender.send(flags=FINAL)


#: Errors -> Triton's code, and the beginning of the message.
_ERRORS = ((ValueError, "INVALID_ARG", ""), ((QueueFull, Stopped), "UNAVAILABLE", ""))
_ANY_ERROR = ("INTERNAL", "the graph failed: ")


class Metrics:
    """The scheduler's metrics on Triton's metrics endpoint."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        # a metric ends with its family
        self._families = {
            name: triton.MetricFamily(f"hf2triton_{name}", description, getattr(triton.MetricFamily, kind))
            for name, (description, kind) in _FAMILIES.items()
        }
        labels = {name: message(label) for name, label in labels.items()}
        self._metrics = {name: family.Metric(labels=labels) for name, family in self._families.items()}
        self._values = dict.fromkeys(_FAMILIES, 0.0)
        for name, (_, kind) in _FAMILIES.items():
            if kind == "GAUGE":  # Triton keeps the last value of a process that was killed
                self._metrics[name].set(0)

    def update(self, statistics: Statistics, first_token_seconds: Sequence[float]) -> None:
        """Sends Triton only the values that have changed, because sending takes a while."""
        now = {
            "generated_tokens_total": statistics.tokens,
            "live_slots": statistics.live + statistics.joining,
            "queue_length": statistics.queued,
            "time_to_first_token_seconds_sum": self._values["time_to_first_token_seconds_sum"]
            + sum(first_token_seconds),
            "time_to_first_token_seconds_count": self._values["time_to_first_token_seconds_count"]
            + len(first_token_seconds),
        }
        for name, value in now.items():
            if value == self._values[name]:
                continue
            if _FAMILIES[name][1] == "COUNTER":
                self._metrics[name].increment(value - self._values[name])
            else:
                self._metrics[name].set(value)
            self._values[name] = value


_FAMILIES = {
    "generated_tokens_total": ("Tokens generated", "COUNTER"),
    "live_slots": ("Sequences that hold a slot", "GAUGE"),
    "queue_length": ("Sequences that wait for a slot", "GAUGE"),
    "time_to_first_token_seconds_sum": (
        "Seconds from request to first token, of all sequences that have ended",
        "COUNTER",
    ),
    "time_to_first_token_seconds_count": ("Sequences that have ended", "COUNTER"),
}


def _value(request: triton.InferenceRequest, name: str) -> Any:
    """The only element of an input; None if it was not sent."""
    tensor = triton.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().ravel()[0]
