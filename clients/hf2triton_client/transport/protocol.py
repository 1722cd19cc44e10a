"""The messages of Triton's gRPC protocol. protobuf builds their classes at import, so type checkers cannot see them.

https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

    class _Request(Message):
        def __init__(self, **fields: Any) -> None: ...

    class ServerMetadataRequest(_Request): ...

    class ModelConfigRequest(_Request): ...

    class ModelMetadataRequest(_Request): ...

    class ModelStatisticsRequest(_Request): ...

    class RepositoryModelLoadRequest(_Request):
        parameters: Any

    class RepositoryModelUnloadRequest(_Request): ...

    class ModelInferRequest(_Request):
        model_name: str
        inputs: Any
        outputs: Any
        raw_input_contents: Any

    class ModelStreamInferResponse(Message):
        error_message: str
        infer_response: Any
else:
    from tritonclient.grpc.service_pb2 import (
        ModelConfigRequest,
        ModelInferRequest,
        ModelMetadataRequest,
        ModelStatisticsRequest,
        ModelStreamInferResponse,
        RepositoryModelLoadRequest,
        RepositoryModelUnloadRequest,
        ServerMetadataRequest,
    )

__all__ = [
    "ModelConfigRequest",
    "ModelInferRequest",
    "ModelMetadataRequest",
    "ModelStatisticsRequest",
    "ModelStreamInferResponse",
    "RepositoryModelLoadRequest",
    "RepositoryModelUnloadRequest",
    "ServerMetadataRequest",
]
