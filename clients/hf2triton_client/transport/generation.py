"""Triton's generate extension: prompts as requests, responses as texts.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import tritonclient.grpc as triton
from numpy.typing import NDArray

from ..errors import from_stream
from .protocol import ModelInferRequest, ModelStreamInferResponse
from .served_model import FINGERPRINT, ServedModel, Stamp, output_of, stamp_of
from .versions import Versions

_LOGPROBS = "prompt_logprobs"
_OUTPUTS = ("text_output", "finish_reason", "num_input_tokens", "num_output_tokens", "token_ids")


@dataclass(frozen=True)
class Prompt:
    """A text to continue.

    `settings`: how to continue it, as a JSON object. `stream`: answer with each piece as soon as it is generated, instead of
    with the whole text at its end. `head`: text that precedes the new text in the caller's result; it is not sent. `logprobs`:
    the settings ask for the log probabilities of the prompt itself. `versions`: the model's known versions, if the message
    depends on them; `settings_for` returns the settings for each.
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
        """The same prompt for another version of the model."""
        return self if self.settings_for is None else replace(self, settings=self.settings_for(model))

    def message(self) -> ModelInferRequest:
        """The request. No tensor has a batch dimension."""
        message = ModelInferRequest(model_name=self.model)
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
    """How a text was generated.

    `finish_reason`: what ended the text: "length" (as many tokens as requested, or as the model can take), "eos" (the model's
    end of text) or "stop" (a stop string); "" while the text continues. `num_input_tokens`: how many tokens of the prompt were
    used.
    `num_output_tokens`: tokens generated so far, including the one that ended the text. `model_version`: the version that
    answered.
    """

    finish_reason: str
    num_input_tokens: int
    num_output_tokens: int
    model_version: int


@dataclass(frozen=True)
class GenerationResponse:
    """One response: the text of each sequence, or the next piece of the only sequence, and their progress.

    `token_ids`: int32 `[sequences, longest]`, the tokens of this response, padded with zeros. `logprobs`: float32 `[tokens -
    1]`, for all tokens of the prompt but the first, if requested. `stamp`: which version answered.
    """

    texts: tuple[str, ...]
    metadata: tuple[GenerationMetadata, ...]
    token_ids: NDArray[Any]
    logprobs: NDArray[Any] | None = None
    stamp: Stamp = Stamp(0, None)

    @classmethod
    def of(cls, response: ModelStreamInferResponse, url: str) -> GenerationResponse:
        """Reads a response. Raises the error it reports."""
        if response.error_message:
            raise from_stream(response.error_message, url)
        result = triton.InferResult(response.infer_response)
        texts, reasons, used, counts, token_ids = (output_of(result, name) for name in _OUTPUTS)
        stamp = stamp_of(result)
        metadata = (
            GenerationMetadata(reason.decode(), int(used[0]), int(count), stamp.version)
            for reason, count in zip(reasons, counts, strict=True)
        )
        decoded = tuple(text.decode() for text in texts)
        return cls(decoded, tuple(metadata), token_ids, result.as_numpy(_LOGPROBS), stamp)

    @property
    def complete(self) -> bool:
        """Whether all sequences have ended."""
        return all(sequence.finish_reason for sequence in self.metadata)


def is_last(response: ModelStreamInferResponse) -> bool:
    """Whether this is Triton's last response to a prompt."""
    return bool(response.error_message or response.infer_response.parameters["triton_final_response"].bool_param)


@dataclass(frozen=True)
class Generation:
    """One call of a pipeline: the prompts, and the functions that turn the answers into its result.

    `prompts`: can be endless. `versions`: the known versions of the model that answers. `result`: makes the result of one
    prompt. `finish`: makes the result of the call from the results of all prompts, in order.
    """

    prompts: Iterable[Prompt]
    versions: Versions
    result: Callable[[Prompt, GenerationResponse], Any]
    finish: Callable[[list[Any]], Any]

    @property
    def slots(self) -> int:
        """Returns how many prompts the server works on at the same time, as far as is known now."""
        return int(self.versions.newest.settings["generation"]["slots"])
