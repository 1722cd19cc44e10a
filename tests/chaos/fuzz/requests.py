"""Requests as no client makes them: shapes, types and lengths that do not go together."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from .example import OUTPUTS, Example, recipe_of, strings
from .images import whole

Request = dict[str, Any]
_TEXT = {"text": [{"text": "What a lovely day"}]}
_GOOD: dict[tuple[str, str], dict[str, list[Any]]] = {
    ("text-classification", ""): _TEXT,
    ("token-classification", ""): _TEXT,
    ("token-classification", "graph"): {},
    ("question-answering", ""): _TEXT | {"text_pair": [{"text": "Ann said it."}]},
    ("fill-mask", ""): {"text": [{"text": "The [MASK]"}], "parameters": [{"text": "{}"}]},
    ("image-classification", ""): {"image": [recipe_of(whole("PNG", "RGB", 33))]},
    ("zero-shot-image-classification", "text"): _TEXT,
    ("zero-shot-image-classification", "image"): {"image": [recipe_of(whole("JPEG", "RGB", 33))]},
    ("text-generation", ""): {
        "text_input": [{"text": "And"}],
        "sampling_parameters": [{"text": '{"max_new_tokens": 2}'}],
    },
}
TASKS = tuple(dict.fromkeys(task for task, _ in _GOOD))
_TYPES = ("BOOL", "INT8", "INT32", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES", "", "bytes", "BF16", "nonsense")
_SHAPES = (
    [],
    [0],
    [1],
    [-1],
    [1, -1],
    [0, 1],
    [1, 0],
    [2, 1],
    [1, 2],
    [1, 1, 1],
    [65, 1],
    [2**31, 2**31],
    [2**62, 4],
    [-(2**63), 1],
)
_FIELDS = {
    "bytes_contents": [{"text": "a"}],
    "int_contents": [1, 2, 3],
    "int64_contents": [-1],
    "fp32_contents": [1.0],
    "bool_contents": [True],
    "uint64_contents": [2**64 - 1],
}
_PARAMETERS = (
    {"timeout": 1},
    {"timeout": -1},
    {"timeout": "soon"},
    {"priority": 2**62},
    {"priority": "high"},
    {"sequence_id": 7, "sequence_start": True},
    {"sequence_id": "seven", "sequence_end": True},
    {"binary_data_output": True},
    {"shared_memory_region": "none", "shared_memory_byte_size": 64},
    {"triton_enable_empty_final_response": True},
    {"triton_final_response": True},
    {"max_new_tokens": 1},
    {"\x00": "\x00", "ü": 1.5},
)
_IDS = ("", "7", "ü\u0000", "x" * 10_000)
_VERSIONS = ("1", "0", "-1", "999", "one", "1.0", "99999999999999999999", "../1", " ")


def _any_input(rng: random.Random, request: Request) -> dict[str, Any]:
    return rng.choice(request["inputs"])


def _shape(rng: random.Random, request: Request) -> None:
    _any_input(rng, request)["shape"] = list(rng.choice(_SHAPES))


def _type(rng: random.Random, request: Request) -> None:
    _any_input(rng, request)["datatype"] = rng.choice(_TYPES)


def _twice(rng: random.Random, request: Request) -> None:
    index = rng.randrange(len(request["inputs"]))
    request["inputs"].append(copy.deepcopy(request["inputs"][index]))
    if rng.randrange(2) and index < len(request["raw"]):
        request["raw"].append(request["raw"][index])


def _missing(rng: random.Random, request: Request) -> None:
    index = rng.randrange(len(request["inputs"]))
    del request["inputs"][index]
    if rng.randrange(2) and index < len(request["raw"]):
        del request["raw"][index]


def _unknown(rng: random.Random, request: Request) -> None:
    _any_input(rng, request)["name"] = rng.choice(["", "nobody", "text\0", "TEXT", "x" * 5000, "ü"])


def _outputs(rng: random.Random, request: Request) -> None:
    request["outputs"] = rng.choice([["nobody"], [""], [*request["outputs"]] * 2, [], ["x" * 5000]])


def _no_raw(rng: random.Random, request: Request) -> None:
    request["raw"] = rng.choice([[], request["raw"][:-1], [*request["raw"], {"text": ""}]])


def _contents(rng: random.Random, request: Request) -> None:
    """Values in a field of their own, beside the raw ones or in their place."""
    field = rng.choice(sorted(_FIELDS))
    _any_input(rng, request)["contents"] = {field: _FIELDS[field]}
    if rng.randrange(2):
        request["raw"] = []


def _parameters(rng: random.Random, request: Request) -> None:
    target = rng.choice([request, _any_input(rng, request)])
    target["parameters"] = rng.choice(_PARAMETERS)


def _about(rng: random.Random, request: Request) -> None:
    request["id"], request["version"] = rng.choice(_IDS), rng.choice(_VERSIONS)


_MUTATIONS: tuple[Callable[[random.Random, Request], None], ...] = (
    *(_shape, _type, _twice, _missing, _unknown, _outputs, _no_raw, _contents, _parameters, _about),
)
#: What the model behind a frontend takes.
_GRAPH = {"input_ids": [1, 8], "attention_mask": [1, 8], "token_type_ids": [1, 8]}


def _graph(rng: random.Random) -> Request:
    """Plain tensors. Ids may be any number, lengths any length."""
    values = [rng.choice([0, 1, 5, 2999, 3000, -1, 2**31, 2**63 - 1, -(2**63)]) for _ in range(8)]
    inputs = [
        {
            "name": name,
            "datatype": "INT64",
            "shape": list(shape),
            "contents": {"int64_contents": values if index == 0 else [1] * 8},
        }
        for index, (name, shape) in enumerate(_GRAPH.items())
    ]
    return {"inputs": inputs, "raw": [], "outputs": ["logits"]}


def example(rng: random.Random, task: str) -> Example:
    """A good request with one thing or several changed."""
    reads = rng.choice([reads for own, reads in _GOOD if own == task])
    good = _graph(rng) if reads == "graph" else strings(task, _GOOD[task, reads], OUTPUTS[task]).request
    request = copy.deepcopy(dict(good))
    for _ in range(rng.choice([1, 1, 2, 3])):
        if request["inputs"]:
            rng.choice(_MUTATIONS)(rng, request)
    return Example(task, request, reads=reads)


def wrong_length(rng: random.Random, task: str) -> Example:
    """A length within BYTES that is not that of what follows. Triton's Python backend then fails all requests of the batch: the
    one thing here that costs others their answer."""
    content = rng.choice([b"", b"abc", b"x" * 300])
    length = rng.choice([0, 1, len(content) + 1, 2**31 - 1, 2**32 - 1])
    request = dict(strings(task, _GOOD[task, ""], OUTPUTS[task]).request)
    request["raw"] = [{"item": recipe_of(content), "length": length}, *request["raw"][1:]]
    return Example(task, request, "refused", alone=True)
