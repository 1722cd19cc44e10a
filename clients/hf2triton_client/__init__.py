"""Call models that hf2triton put into NVIDIA Triton, as if they were a `transformers.pipeline`.

    from hf2triton_client import pipeline

    with pipeline("text-classification", model="sentiment", url="localhost:8001") as classify:
        classify("What a fine day")             # [{"label": "POSITIVE", "score": 0.99}]
        classify(["one", "two"], top_k=None)    # lists are split, sent concurrently and answered in order

`hf2triton_client.aio` is the asyncio counterpart. The package does not need torch, transformers or onnx.
"""

from __future__ import annotations

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
from .moved import keep_old_names
from .pipelines import GeneratedTexts, Metadata, Results, TaskPipeline
from .pipelines.opening import pipeline
from .pipelines.quantization import quantize_embeddings
from .pipelines.sparse_vectors import SparseVectors
from .transport.connection import Connection, connect
from .transport.generation import GenerationMetadata
from .transport.streams import AsyncTextStream, TextStream
from .transport.tls import Tls

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
    "SparseVectors",
    "TaskPipeline",
    "TextStream",
    "Tls",
    "UnknownForm",
    "WrongTask",
    "connect",
    "pipeline",
    "quantize_embeddings",
]

keep_old_names()
