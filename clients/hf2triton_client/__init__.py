"""Call models that hf2triton put into NVIDIA Triton, as if they were a `transformers.pipeline`.

    from hf2triton_client import pipeline

    with pipeline("text-classification", model="sentiment", url="localhost:8001") as classify:
        classify("What a fine day")             # [{"label": "POSITIVE", "score": 0.99}]
        classify(["one", "two"], top_k=None)    # lists are split, sent concurrently and answered in order

`hf2triton_client.aio` is the asyncio twin. Nothing here needs torch, transformers or onnx.
"""

from __future__ import annotations

from typing import Any

from .connection import Connection
from .errors import (
    AccessDenied,
    BaselineError,
    ClientError,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    GenerationInterrupted,
    InputError,
    ModelNotFound,
    ReportError,
    ServerBusy,
    ServerError,
    ServerStopping,
    UnknownForm,
    WrongTask,
)
from .generation import GenerationMetadata
from .pipelines import GeneratedTexts, Metadata, Results, TaskPipeline, pipeline_class
from .runner import BlockingRunner
from .served_model import ServedModel, one_of_several
from .slots import MOST_WAITING
from .streams import AsyncTextStream, TextStream
from .target import Target
from .tls import Tls

__all__ = [
    "AccessDenied",
    "AsyncTextStream",
    "BaselineError",
    "ClientError",
    "Connection",
    "ConnectionClosed",
    "ConnectionFailed",
    "DeadlineExceeded",
    "GeneratedTexts",
    "GenerationInterrupted",
    "GenerationMetadata",
    "InputError",
    "Metadata",
    "ModelNotFound",
    "ReportError",
    "Results",
    "ServerBusy",
    "ServerError",
    "ServerStopping",
    "TaskPipeline",
    "TextStream",
    "Tls",
    "UnknownForm",
    "WrongTask",
    "connect",
    "pipeline",
]


def connect(
    url: str = "localhost:8001",
    *,
    timeout: float = 60.0,
    retries: int = 3,
    headers: dict[str, str] | None = None,
    tls: Tls | None = None,
    max_in_flight: int = 4,
    max_waiting: int = MOST_WAITING,
) -> Connection:
    """A connection that several pipelines can share: `pipeline(task, model=NAME, connection=connection)`.

    `url`: `host:port` of the server's gRPC endpoint; `grpcs://host:port` for TLS, with what the folder $HF2TRITON_CLIENT_TLS
    holds unless `tls` is given. `timeout`: seconds a request may take, retries and waiting for its turn included. `retries`:
    further tries when the server is unreachable or busy; 0 for none, also where the model is on its way to another server.
    `headers`: sent with each call. `max_in_flight`: requests under way at the same time, of all calls of several requests.
    `max_waiting`: calls that may wait for that; further ones raise ServerBusy. Raises InputError and AccessDenied.
    """
    return Connection(Target(url, timeout, retries, headers or {}, tls), max_in_flight, max_waiting)


def pipeline(
    task: str | None = None,
    model: str = "",
    url: str = "localhost:8001",
    *,
    connection: Connection | None = None,
    timeout: float = 60.0,
    retries: int = 3,
    headers: dict[str, str] | None = None,
    tls: Tls | None = None,
    **options: Any,
) -> TaskPipeline:
    """A served model as a pipeline: same call arguments and results as `transformers.pipeline(task)`.

    `task`: named as transformers names it, or None for the one that the model serves. `model`: the name of the served
    model. `connection`: one to share; without it the pipeline opens its own, as `connect` would, and closes it on
    leaving its `with` block. `options` are defaults for each call (`top_k`, `aggregation_strategy`, `batch_size` …).

    Raises InputError, ConnectionFailed, ModelNotFound (which lists the models that are ready) and WrongTask.
    """
    if not model:
        raise InputError("model is the name of a served model; it is empty")
    owned = connection is None
    connection = connection or connect(url, timeout=timeout, retries=retries, headers=headers, tls=tls)
    try:
        models = _models(connection, model)
        return pipeline_class(task, models)(models, BlockingRunner(connection, owned), options)
    except BaseException:
        if owned:
            connection.close()
        raise


def _models(connection: Connection, name: str) -> dict[str, ServedModel]:
    """The fronts of an entry, by what they read."""
    try:
        config = connection.model_config(name)
    except ModelNotFound:
        config = connection.find_config(one_of_several(name))
        if config is None:
            raise
    fronts = ServedModel.from_config(config).fronts
    return {reads: ServedModel.from_config(connection.model_config(front)) for reads, front in fronts.items()}
