"""Requests as they go over the wire, without the client: for probes, and for what no client of ours would send."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from .cast import GREEDY, Entry, picture

#: A channel of its own connection: gRPC would else share one, and how long it pauses, between all channels to the same place.
OWN_CONNECTION = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
BYTES = Mapping[str, Sequence[bytes]]
_SETTINGS = json.dumps(GREEDY).encode()


@dataclass(frozen=True)
class Probe:
    """The simplest thing that a frontend can be asked. `outputs`: those that are compared."""

    frontend: str
    inputs: BYTES
    outputs: tuple[str, ...]
    streams: bool = False

    def message(self) -> service_pb2.ModelInferRequest:
        message = request(self.frontend, self.inputs, self.outputs, [1] if self.streams else [1, 1])
        if self.streams:
            message.inputs.add(name="stream", datatype="BOOL", shape=[1])
            message.raw_input_contents.append(b"\0")
        return message


def probes_of(entry: Entry) -> list[Probe]:
    """One for each frontend of an entry."""
    text, image = {"text": [b"What a lovely day"]}, {"image": [picture(0)]}
    pair = text | {"text_pair": [b"It was a lovely day, said Ann."]}
    prompt = {"text_input": [b"And when we had"], "sampling_parameters": [_SETTINGS]}
    rows = {
        "text-classification": [("", text, ("logits",))],
        "token-classification": [("", text, ("logits",))],
        "question-answering": [("", pair, ("answers",))],
        "fill-mask": [("", {"text": [b"The [MASK] is good"]}, ("answers",))],
        "image-classification": [("", image, ("logits",))],
        "zero-shot-image-classification": [("image", image, ("embedding",)), ("text", text, ("embedding",))],
        "text-generation": [("", prompt, ("text_output",))],
    }[entry.task]
    streams = entry.task == "text-generation"
    return [Probe(entry.frontends[reads], inputs, outputs, streams) for reads, inputs, outputs in rows]


def request(
    model: str, inputs: BYTES, outputs: Sequence[str] = (), shape: Sequence[int] = (1, 1)
) -> service_pb2.ModelInferRequest:
    """A well-formed request of strings."""
    message = service_pb2.ModelInferRequest(model_name=model)
    for name, values in inputs.items():
        message.inputs.add(name=name, datatype="BYTES", shape=shape)
        message.raw_input_contents.append(b"".join(struct.pack("<I", len(value)) + value for value in values))
    for name in outputs:
        message.outputs.add(name=name)
    return message


@contextmanager
def channel(url: str) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    """A connection that knows nothing of those before it."""
    with grpc.insecure_channel(url, OWN_CONNECTION) as opened:
        yield service_pb2_grpc.GRPCInferenceServiceStub(opened)


def send(
    stub: service_pb2_grpc.GRPCInferenceServiceStub,
    message: service_pb2.ModelInferRequest,
    timeout: float,
    streams: bool = False,
) -> service_pb2.ModelInferResponse:
    """The response, the last one of a stream that says something. Raises grpc.RpcError, and RuntimeError for an error that comes
    within a stream."""
    if not streams:
        return stub.ModelInfer(message, timeout=timeout)
    last = service_pb2.ModelInferResponse()
    for response in stub.ModelStreamInfer(iter([message]), timeout=timeout):
        if response.error_message:
            raise RuntimeError(response.error_message)
        if response.infer_response.outputs:
            last = response.infer_response
    return last


def ask(url: str, probe: Probe, timeout: float = 5.0) -> tuple[int, list[Any]]:
    """The version that answers a probe, and its outputs: floats, or strings. Raises grpc.RpcError and RuntimeError."""
    with channel(url) as stub:
        response = send(stub, probe.message(), timeout, probe.streams)
    result = triton.InferResult(response)
    values = [value for name in probe.outputs for value in np.ravel(result.as_numpy(name)).tolist()]
    texts = [json.loads(value) if isinstance(value, bytes) and value[:1] in b"[{" else value for value in values]
    return int(response.model_version), [value.decode() if isinstance(value, bytes) else value for value in texts]


def post(url: str, body: Any, timeout: float) -> bytes:
    """One HTTP request. Raises OSError and http.client.HTTPException."""
    headers = {"Content-Type": "application/json", "Connection": "close"}
    with urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=timeout
    ) as answer:
        return answer.read()
