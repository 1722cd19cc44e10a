"""Measures call overhead on a live server, and writes it into the frontend, which plans with it.

Times come from the server's statistics, not from a client's clock, because the frontend's calls cross no network. There should be
no other callers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import triton_to_np_dtype

from hf2triton_client.errors import ClientError
from hf2triton_client.transport.connection import Connection, Request

from ..core.frontend_settings import EncoderSettings, read_encoder_settings
from ..core.layout import frontends_of, graph_model
from ..core.manifest import Manifest, served_manifest
from ..deploy.live import Live
from ..errors import ServingError, UsageError
from ..parity.call_overhead import fit_call_overhead
from ..repository.add_entry import change_settings

#: Lengths and rows to try, besides the largest.
LENGTHS, ROWS = (8, 32, 128), (1, 4, 16)
#: Calls of each size after a first one that does not count; the quickest counts.
REPEATS = 5
#: Seconds until the server's statistics include a call that was answered.
_PATIENCE = 5.0


@dataclass(frozen=True)
class MeasuredOverhead:
    """Calls of `rows` rows of `tokens` tokens took `seconds`."""

    rows: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """The result for a frontend: its call overhead `before` and now (`overhead`), in tokens, and the calls it was fitted to."""

    frontend: str
    version: int
    before: int
    overhead: int
    calls: tuple[MeasuredOverhead, ...]


def tune(
    connection: Connection,
    repository: Path,
    name: str,
    progress: Callable[[str], None] = lambda stage: None,
    load: bool = False,
) -> list[Tuned]:
    """Measures the calls of each frontend of an entry and writes their overhead into the served version.

    Frontends have to be reloaded to read it, which `load` does. `load` is also called once before anything is measured, so a
    server that does not allow it refuses before anything has changed. Raises UsageError for an entry whose graph is in its
    frontend, RepositoryError, ServingError, and the errors of the connection.
    """
    frontends = {frontend: _read(repository, frontend) for frontend in frontends_of(repository, name)}
    live = Live(connection)
    for frontend in frontends if load else ():
        progress(f"{frontend}: load it, as it is")
        live.load(frontend)
    found = [_tune(connection, repository, frontend, *read, progress) for frontend, read in frontends.items()]
    for tuned in found if load else ():
        try:
            live.load(tuned.frontend)
        except (ServingError, ClientError) as error:
            raise ServingError(
                f"{error} (the call overhead of {tuned.frontend}, {tuned.overhead} tokens, before {tuned.before}, is written; it"
                " counts when the frontend is loaded again)"
            ) from error
    return found


def _read(repository: Path, frontend: str) -> tuple[Manifest, EncoderSettings]:
    """The manifest and settings of a frontend that can be tuned."""
    manifest = served_manifest(repository, frontend)
    if not manifest.has_graph_model:
        raise UsageError(
            f"{frontend} runs its graph itself: what a call costs was measured when it was exported. --runner bls and --device"
            " cuda"
            " or tensorrt make entries that can be tuned"
        )
    return manifest, read_encoder_settings(repository / frontend / str(manifest.version))


def _tune(
    connection: Connection,
    repository: Path,
    frontend: str,
    manifest: Manifest,
    settings: EncoderSettings,
    progress: Callable[[str], None],
) -> Tuned:
    limits = settings.limits
    calls = tuple(_measure(connection, frontend, settings, progress))
    overhead = fit_call_overhead(
        [call.rows * call.tokens for call in calls], [call.seconds for call in calls], limits.max_tokens
    )
    settings = replace(settings, limits=replace(limits, call_price=overhead))
    manifest = replace(manifest, serving=replace(manifest.serving, call_price_tokens=overhead))
    change_settings(repository, frontend, settings, manifest)
    return Tuned(frontend, manifest.version, limits.call_price, overhead, calls)


def _measure(
    connection: Connection, frontend: str, settings: EncoderSettings, progress: Callable[[str], None]
) -> Iterator[MeasuredOverhead]:
    model = graph_model(frontend)
    config = connection.model_config(model)
    for rows, tokens in sizes_of(settings):
        progress(f"{frontend}: {rows} × {tokens}")
        message = service_pb2.ModelInferRequest(model_name=model)
        for one in config["input"]:
            _add_input(message, one, rows, tokens)
        for one in config["output"]:
            message.outputs.add(name=one["name"])
        seconds = [_seconds(connection, Request(message)) for _ in range(REPEATS + 1)]
        yield MeasuredOverhead(rows, tokens, min(seconds[1:]))


def sizes_of(settings: EncoderSettings) -> list[tuple[int, int]]:
    """Rows and tokens of the calls to try, from the smallest to the largest that the frontend itself may make. Images all have
    the same number of tokens, and so have texts that are padded to the limit."""
    limits, preprocessor = settings.limits, settings.reader
    longest = preprocessor.get("tokens") or preprocessor["max_length"]
    is_fixed = "tokens" in preprocessor or "fills" in preprocessor
    lengths = [longest] if is_fixed else sorted({*(one for one in LENGTHS if one < longest), longest})
    rows = sorted({*(one for one in ROWS if one < limits.max_rows), limits.max_rows})
    return [(one, length) for length in lengths for one in rows if one == 1 or one * length <= limits.max_tokens]


def _add_input(message: service_pb2.ModelInferRequest, described: Mapping[str, Any], rows: int, tokens: int) -> None:
    """Adds an input: zeros for tokens and pixels, ones for the mask, so that every position counts."""
    free = 1 if described["name"] == "mask_positions" else tokens
    dtype = described["data_type"].removeprefix("TYPE_")
    shape = [rows, *(free if int(dim) < 0 else int(dim) for dim in described["dims"])]
    value = float(described["name"] == "attention_mask")
    message.inputs.add(name=described["name"], datatype=dtype, shape=shape)
    message.raw_input_contents.append(np.full(shape, value, triton_to_np_dtype(dtype)).tobytes())


def _seconds(connection: Connection, request: Request) -> float:
    """The server's time for a call, without queueing and the network."""
    calls, before = connection.compute_time(request.model)
    connection.infer(request)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:  # calls are counted after the answer has been sent
        now, after = connection.compute_time(request.model)
        if now > calls:
            return (after - before) / (now - calls)
        time.sleep(0.001)
    raise ServingError(f"{connection.target.url} does not count the calls of {request.model}: are its statistics off?")
