"""Raw callers of a served model that generates, over HTTP and gRPC. Nothing of hf2triton_client is used here."""

from __future__ import annotations

import json
import queue
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from hf2triton.serving import Server

from ..conftest import entry_name

FP32 = entry_name("gpt2", "text-generation", "fp32")
FP16 = entry_name("gpt2", "text-generation", "fp16")
#: Seconds after which a test gives up waiting.
PATIENCE = 60.0


@dataclass(frozen=True)
class Reply:
    """What a request was answered with. `texts`, `reasons`, `counts` and `token_ids` are of each sequence, those of all
    responses joined; `pieces` are the responses' texts of the first one, `arrived` when each response came."""

    texts: list[str]
    reasons: list[str]
    counts: list[int]
    token_ids: list[list[int]]
    prompt_tokens: int
    pieces: list[str]
    arrived: list[float]

    @classmethod
    def of(cls, arrivals: Sequence[tuple[float, triton.InferResult]]) -> Reply:
        """Every piece must be UTF-8 by itself, and no reason may be given before the end."""
        arrived, responses = zip(*arrivals, strict=True)
        texts = [_texts(response, "text_output") for response in responses]
        counts = [response.as_numpy("num_output_tokens").tolist() for response in responses]
        ids: list[list[int]] = [[] for _ in texts[0]]
        for response, now in zip(responses, counts, strict=True):
            for own, row, count in zip(ids, response.as_numpy("token_ids").tolist(), now, strict=True):
                own += row[: count - len(own)]
        *earlier, reasons = (_texts(response, "finish_reason") for response in responses)
        assert all(reason == "" for early in earlier for reason in early)
        [prompt_tokens] = responses[-1].as_numpy("num_input_tokens").tolist()
        pieces = [row[0] for row in texts]
        whole = ["".join(parts) for parts in zip(*texts, strict=True)]
        return cls(whole, reasons, counts[-1], ids, prompt_tokens, pieces, list(arrived))


class Stream:
    """A gRPC stream; several requests may be under way on it. Leaving it waits for their ends, or cancels them where something
    was raised.

    Its errors are texts without a status, as Triton's protocol has it. (With the header `triton_grpc_error` they have one, but
    Triton 24.10 crashes after a few of them: https://github.com/triton-inference-server/server/pull/8078 is of its kind.)
    """

    def __init__(self, server: Server) -> None:
        self._client = triton.InferenceServerClient(server.url)
        self._arrived: queue.Queue = queue.Queue()
        self._responses: dict[str, list[tuple[float, triton.InferResult]]] = defaultdict(list)
        self._sent = 0
        self._client.start_stream(lambda result, error: self._arrived.put((time.monotonic(), result, error)))

    def send(self, model: str, text: str, *, stream: bool = True, **settings: Any) -> str:
        """Sends a request and gives its id."""
        given = json.dumps(settings)
        return self.send_inputs(model, inputs_of(text_input=text, stream=stream, sampling_parameters=given))

    def send_inputs(self, model: str, inputs: Sequence[triton.InferInput], **options: Any) -> str:
        """The same with any tensors, and with options of Triton's client."""
        self._sent += 1
        self._client.async_stream_infer(model, inputs, request_id=str(self._sent), **options)
        return str(self._sent)

    def first(self, request: str) -> None:
        """Returns when a request has its first response. Raises what any of the stream's has failed with."""
        while not self._responses[request]:
            self._receive()

    def read(self, request: str) -> Reply:
        """All of a request's answer. Raises what any of the stream's has failed with."""
        while not (self._responses[request] and is_last(self._responses[request][-1][1])):
            self._receive()
        return Reply.of(self._responses.pop(request))

    def ask(self, model: str, text: str, **settings: Any) -> Reply:
        return self.read(self.send(model, text, **settings))

    def outcomes(self, count: int) -> tuple[list[triton.InferResult], list[Exception]]:
        """The last responses and the errors of so many requests, which nobody reads otherwise."""
        last, errors = [], []
        while len(last) + len(errors) < count:
            _, result, error = self._arrived.get(timeout=PATIENCE)
            if error is not None:
                errors.append(error)
            elif is_last(result):
                last.append(result)
        return last, errors

    def rest(self, seconds: float) -> list[tuple[triton.InferResult | None, Exception | None]]:
        """What else comes, as results and errors, until nothing does for so long."""
        rest = []
        with suppress(queue.Empty):
            while True:
                rest.append(self._arrived.get(timeout=seconds)[1:])
        return rest

    def cancel(self) -> None:
        self._client.stop_stream(cancel_requests=True)

    def _receive(self) -> None:
        when, result, error = self._arrived.get(timeout=PATIENCE)
        if error is not None:
            raise error
        self._responses[result.get_response().id].append((when, result))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        self._client.stop_stream(cancel_requests=raised is not None)
        self._client.close()


def inputs_of(**values: str | bytes | bool) -> list[triton.InferInput]:
    """Tensors of one element each."""
    return [tensor(name, [value]) for name, value in values.items()]


def tensor(name: str, values: Sequence[str | bytes | bool]) -> triton.InferInput:
    """A vector of flags or of texts."""
    flags = bool(values) and isinstance(values[0], bool)
    array = np.array(values if flags else [_bytes(value) for value in values], bool if flags else np.object_)
    made = triton.InferInput(name, list(array.shape), "BOOL" if flags else "BYTES")
    made.set_data_from_numpy(array)
    return made


def is_last(response: triton.InferResult) -> bool:
    return response.get_response().parameters["triton_final_response"].bool_param


def post(server: Server, model: str, path: str, body: Any) -> str:
    """`body`: JSON, as an object or as bytes that need not be any."""
    url = f"{server.http_url}/v2/models/{model}/{path}"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=PATIENCE) as answer:
        return answer.read().decode()


def open_http(server: Server, model: str, path: str, **body: Any) -> HTTPConnection:
    """The same, as far as sending: the answer is left to be read, or not."""
    connection = HTTPConnection(server.host, server.ports.http, timeout=PATIENCE)
    connection.request("POST", f"/v2/models/{model}/{path}", json.dumps(body))
    return connection


def metrics(server: Server, model: str) -> dict[str, float]:
    """What the metrics endpoint tells of a model, without `hf2triton_` before the names."""
    with urllib.request.urlopen(f"http://{server.host}:{server.ports.metrics}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode()
    found = re.findall(rf'^hf2triton_(\w+){{model="{model}",version="1"}} (\S+)$', lines, re.MULTILINE)
    return {name: float(value) for name, value in found}


def idle(server: Server, model: str) -> bool:
    """Whether a model has nothing to do."""
    now = metrics(server, model)
    return now["live_slots"] == now["queue_length"] == 0


def wait_for(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _texts(response: triton.InferResult, name: str) -> list[str]:
    return [value.decode("utf-8") for value in response.as_numpy(name)]
