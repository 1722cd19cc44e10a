"""What is sent that should not be, beside callers who must not notice."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from ..fuzz import requests
from ..fuzz.corpus import load
from ..fuzz.example import CORPUS, OUTPUTS, strings
from ..fuzz.run import BATCH, Fuzzer
from ..fuzz.strings import huge
from ..promises import Promise
from ..raw import OWN_CONNECTION
from ..stage import Stage
from . import Fault, needs

#: Batches of random examples that one fault sends.
BATCHES = 6
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_METHOD = "/inference.GRPCInferenceService/"
_METHODS = ("ModelInfer", "ModelStreamInfer", "ModelConfig", "ServerMetadata", "NoSuchMethod")


def fuzzer(stage: Stage, found: Path | None = None) -> Fuzzer:
    return Fuzzer(stage.served, stage.entries, stage.known, stage.broken, stage.restore, found)


def _fuzzed(kind: str) -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        own = fuzzer(stage, CORPUS)
        own.run(own.made(kind, stage.random, BATCHES * BATCH))

    return inject


def corpus(stage: Stage) -> None:
    """Everything that ever broke something."""
    fuzzer(stage).run(one for one in load().values() if not one.alone)


def wrong_lengths(stage: Stage) -> None:
    """Lengths within BYTES that are wrong: what is merged with them may fail, as it does in Triton's own backend."""
    tasks = [task for task in ("text-classification", "question-answering") if task in stage.entries]
    stage.touch(*(stage.entries[task].name for task in tasks))
    fuzzer(stage).run(requests.wrong_length(stage.random, stage.random.choice(tasks)) for _ in range(6))


def huge_texts(stage: Stage) -> None:
    """Texts as long as is allowed, alone and a batch of them, and pairs."""
    rng, examples = stage.random, []
    for task, names in (
        ("text-classification", ("text",)),
        ("text-classification", ("text", "text_pair")),
        ("token-classification", ("text",)),
        ("question-answering", ("text", "text_pair")),
    ):
        if task in stage.entries:
            rows = rng.choice([1, 3])
            examples.append(strings(task, {name: [huge(rng) for _ in range(rows)] for name in names}, OUTPUTS[task]))
    fuzzer(stage).run(examples)


def garbage(stage: Stage) -> None:
    """Bytes that are neither HTTP, nor gRPC, nor protobuf, to each port."""
    rng = stage.random
    kept = []
    for port in stage.served.ports.values():
        for make in _GARBAGE:
            with contextlib.suppress(OSError):
                one = socket.create_connection((stage.served.host, port), timeout=1)
                kept.append(one)  # some stay open, and say no more
                one.sendall(make(rng))
                if rng.randrange(2):
                    one.close()
    with grpc.insecure_channel(stage.url, OWN_CONNECTION) as opened:
        for _ in range(20):
            call = opened.unary_unary(_METHOD + rng.choice(_METHODS), lambda data: data, lambda data: data)
            with contextlib.suppress(grpc.RpcError):
                call(rng.randbytes(rng.choice([0, 1, 30, 5000])), timeout=5)
    time.sleep(1)
    for one in kept:
        one.close()


def _frame(rng: random.Random) -> bytes:
    """An HTTP/2 frame with a type, flags and a stream of its own making."""
    payload = rng.randbytes(rng.choice([0, 8, 200]))
    length = rng.choice([len(payload), len(payload) + 50, 2**24 - 1])
    return length.to_bytes(3, "big") + rng.randbytes(2) + rng.randrange(2**32).to_bytes(4, "big") + payload


_GARBAGE: tuple[Callable[[random.Random], bytes], ...] = (
    lambda rng: rng.randbytes(rng.choice([1, 100, 70_000])),
    lambda rng: _PREFACE,
    lambda rng: _PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"".join(_frame(rng) for _ in range(20)),
    lambda rng: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
    lambda rng: b"GET /v2/health/ready HTTP/1.1\r\nX: " + b"a" * 100_000,
    lambda rng: b"POST /v2/models/none/infer HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{",
    lambda rng: b"POST /v2/models/none/infer HTTP/1.1\r\nContent-Length: -1\r\n\r\n" + rng.randbytes(50),
    lambda rng: b"\r\n" * 1000,
)


def many_connections(stage: Stage) -> None:
    """Hundreds of connections that say nothing."""
    kept = []
    for _ in range(300):
        with contextlib.suppress(OSError):
            kept.append(socket.create_connection((stage.served.host, stage.served.ports["grpc"]), timeout=1))
    time.sleep(2)
    for one in kept:
        one.close()


_UNNOTICED = Promise(steady=True, back=5)
FAULTS = {
    "fuzz_strings": Fault(_fuzzed("strings"), _UNNOTICED),
    "fuzz_images": Fault(_fuzzed("images"), _UNNOTICED, needs("image-classification")),
    "fuzz_parameters": Fault(_fuzzed("parameters"), _UNNOTICED),
    "fuzz_requests": Fault(_fuzzed("requests"), _UNNOTICED),
    "corpus": Fault(corpus, _UNNOTICED),
    "wrong_lengths": Fault(
        wrong_lengths,
        Promise(frozenset({"ServerError", "InputError", "HTTPFailed"}), steady=True),
        needs("text-classification"),
    ),
    "huge_texts": Fault(huge_texts, _UNNOTICED, needs("text-classification")),
    "garbage": Fault(garbage, _UNNOTICED),
    "many_connections": Fault(many_connections, _UNNOTICED),
}
