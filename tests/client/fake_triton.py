"""A gRPC server that speaks Triton's protocol for one model of text-generation and answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

NAME = "verses"


@dataclass(frozen=True)
class Seen:
    """A request as the server sees it. `outputs`: the names asked for; `headers`: gRPC's metadata; `seconds`: until its
    deadline; `tries`: requests with this text so far."""

    text: str
    settings: dict[str, Any]
    stream: bool
    headers: Mapping[str, str]
    seconds: float
    tries: int
    outputs: tuple[str, ...] = ()


def response(
    texts: Sequence[str],
    reasons: Sequence[str],
    counts: Sequence[int] = (),
    used: int = 3,
    logprobs: Sequence[float] | None = None,
) -> service_pb2.ModelStreamInferResponse:
    """A response as the frontend gives it. `counts`: 1 for each sequence where they are left out. `logprobs`: of the prompt."""
    answer = service_pb2.ModelInferResponse(model_name=NAME, model_version="4")
    answer.parameters["triton_final_response"].bool_param = all(reasons)
    strings = {"text_output": texts, "finish_reason": reasons}
    counts = counts or [1] * len(texts)
    numbers = {"num_input_tokens": [used], "num_output_tokens": counts, "token_ids": [[7] * max(counts)] * len(texts)}
    for name, values in strings.items():
        answer.outputs.add(name=name, datatype="BYTES", shape=[len(values)])
        encoded = np.array([value.encode() for value in values], np.object_)
        answer.raw_output_contents.append(serialize_byte_tensor(encoded).item())
    for name, values in numbers.items():
        array = np.array(values, np.int32)
        answer.outputs.add(name=name, datatype="INT32", shape=array.shape)
        answer.raw_output_contents.append(array.tobytes())
    answer.outputs.add(name="token_ids", datatype="INT32", shape=[len(texts), 0])
    answer.raw_output_contents.append(b"")
    if logprobs is not None:
        answer.outputs.add(name="prompt_logprobs", datatype="FP32", shape=[len(logprobs)])
        answer.raw_output_contents.append(np.array(logprobs, np.float32).tobytes())
    return service_pb2.ModelStreamInferResponse(infer_response=answer)


Script = Callable[[Seen, grpc.ServicerContext], Iterator[service_pb2.ModelStreamInferResponse]]


class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Listens within a `with` block. `script` answers each request; it may end it with `context.abort`.

    `seen`: the requests, tries included. `most_at_once`: the most that were under way at the same time. `cancelled`: texts
    of the requests whose callers went away.
    """

    def __init__(
        self,
        script: Script,
        slots: int = 8,
        defaults: Mapping[str, Any] | None = None,
        credentials: grpc.ServerCredentials | None = None,
        port: int = 0,
    ) -> None:
        self.seen: list[Seen] = []
        self.cancelled: set[str] = set()
        self.most_at_once = 0
        self._script = script
        self._under_way = 0
        self._changed = threading.Condition()
        self._about = {
            "format": 1,
            "task": "text-generation",
            "generation": {"slots": slots, "defaults": defaults or {}},
        }
        self._server = grpc.server(ThreadPoolExecutor(64))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        if credentials is None:
            self.url = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        else:
            self.url = f"grpcs://localhost:{self._server.add_secure_port('127.0.0.1:0', credentials)}"

    def __enter__(self) -> FakeTriton:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def wait_for_cancelled(self, *texts: str, seconds: float = 20.0) -> None:
        """Until the callers of these texts have gone away."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.cancelled.issuperset(texts), seconds), self.cancelled

    def ModelConfig(self, request, context):  # noqa: N802 - the protocol's name
        answer = service_pb2.ModelConfigResponse()
        answer.config.name = request.name
        answer.config.parameters["hf2triton"].string_value = json.dumps(self._about)
        return answer

    def ModelStreamInfer(self, request_iterator, context):  # noqa: N802
        request = next(request_iterator)
        inputs = {tensor.name: tensor for tensor in request.inputs}
        assert {tuple(tensor.shape) for tensor in request.inputs} == {(1,)}
        text = inputs["text_input"].contents.bytes_contents[0].decode()
        with self._changed:
            seen = Seen(
                text,
                json.loads(inputs["sampling_parameters"].contents.bytes_contents[0]),
                inputs["stream"].contents.bool_contents[0],
                dict(context.invocation_metadata()),
                context.time_remaining(),
                1 + sum(other.text == text for other in self.seen),
                tuple(output.name for output in request.outputs),
            )
            self.seen.append(seen)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            yield from self._script(seen, context)
        finally:
            with self._changed:
                self._under_way -= 1
                if not context.is_active():
                    self.cancelled.add(seen.text)
                self._changed.notify_all()
