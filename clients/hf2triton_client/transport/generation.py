"""Triton's generate extension: prompts as requests, responses as texts.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from ..errors import from_stream
from .served_model import FINGERPRINT, ServedModel, Stamp, stamp_of
from .versions import Versions

_LOGPROBS = "prompt_logprobs"
_OUTPUTS = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens", "token_ids")


@dataclass(frozen=True)
class Prompt:
    """A text to be continued.

    `settings`: how, as a JSON object. `stream`: each piece is answered as soon as it is there, not the whole text at its
    end. `head`: what stands before the new text in what the caller gets; it is not sent. `logprobs`: the settings ask for
    those of the text itself. `versions`: the known ones of the model, where what is sent depends on them; `settings_for` gives
    the settings for each.
    """

    model: str
    text: str
    settings: str
    stream: bool = False
    head: str = ""
    logprobs: bool = False
    versions: Versions | None = field(default=None, compare=False)
    settings_for: Callable[[ServedModel], str] | None = field(default=None, compare=False)

    def made_for(self, model: ServedModel) -> Prompt:
        """The same for a version of the model."""
        return self if self.settings_for is None else replace(self, settings=self.settings_for(model))

    def message(self) -> service_pb2.ModelInferRequest:
        """The request. No tensor has a batch dimension."""
        message = service_pb2.ModelInferRequest(model_name=self.model)
        for name, value in (("text_input", self.text), ("sampling_parameters", self.settings)):
            tensor = message.inputs.add(name=name, datatype="BYTES", shape=[1])
            tensor.contents.bytes_contents.append(value.encode())
        message.inputs.add(name="stream", datatype="BOOL", shape=[1]).contents.bool_contents.append(self.stream)
        known = self.versions is not None and FINGERPRINT in self.versions.common.settings["outputs"]
        for name in (*_OUTPUTS, *([_LOGPROBS] if self.logprobs else []), *([FINGERPRINT] if known else [])):
            message.outputs.add(name=name)
        return message


@dataclass(frozen=True)
class GenerationMetadata:
    """How a generated text came about.

    `finish_reason`: what ended it: "length" (as many tokens as were asked for, or as the model takes), "eos" (the model's
    end of text) or "stop" (a stop string); "" while it goes on. `num_input_tokens`: tokens of the prompt that were used.
    `num_output_tokens`: tokens generated so far, the one that ended the text included. `model_version`: the version that
    answered.
    """

    finish_reason: str
    num_input_tokens: int
    num_output_tokens: int
    model_version: int


@dataclass(frozen=True)
class GenerationResponse:
    """One response: the text of each sequence, or the next piece of the only one, and how far they have come.

    `token_ids`: int32 `[sequences, longest]`, those of this response, the shorter filled up with zeros. `logprobs`: float32
    `[tokens - 1]`, of the prompt's tokens but the first, where they were asked for. `stamp`: who has answered.
    """

    texts: tuple[str, ...]
    metadata: tuple[GenerationMetadata, ...]
    token_ids: NDArray[Any]
    logprobs: NDArray[Any] | None = None
    stamp: Stamp = Stamp(0, None)

    @classmethod
    def of(cls, response: service_pb2.ModelStreamInferResponse, url: str) -> GenerationResponse:
        """Raises the error that a response tells of."""
        if response.error_message:
            raise from_stream(response.error_message, url)
        result = triton.InferResult(response.infer_response)
        texts, reasons, used, counts, token_ids = (result.as_numpy(name) for name in _OUTPUTS)
        stamp = stamp_of(result)
        metadata = (
            GenerationMetadata(reason.decode(), int(used[0]), int(count), stamp.version)
            for reason, count in zip(reasons, counts, strict=True)
        )
        decoded = tuple(text.decode() for text in texts)
        return cls(decoded, tuple(metadata), token_ids, result.as_numpy(_LOGPROBS), stamp)

    @property
    def complete(self) -> bool:
        """Whether no sequence goes on."""
        return all(sequence.finish_reason for sequence in self.metadata)


def is_last(response: service_pb2.ModelStreamInferResponse) -> bool:
    """Whether Triton has no more to say to a prompt."""
    return bool(response.error_message) or response.infer_response.parameters["triton_final_response"].bool_param


@dataclass(frozen=True)
class Generation:
    """One call of a pipeline: prompts to be answered, and what makes its result of the answers.

    `prompts`: may be endless. `versions`: those of the model that answers. `result`: of one prompt. `finish`: of the results of
    all, in order.
    """

    prompts: Iterable[Prompt]
    versions: Versions
    result: Callable[[Prompt, GenerationResponse], Any]
    finish: Callable[[list[Any]], Any]

    @property
    def slots(self) -> int:
        """How many prompts the server works on at the same time, by what is known now."""
        return self.versions.newest.settings["generation"]["slots"]
