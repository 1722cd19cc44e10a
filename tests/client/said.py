"""What Triton 24.10 and grpcio 1.85 said, word for word, when they were made to: (status, message, error, reason)."""

from __future__ import annotations

from hf2triton_client.error_rows import Reason
from hf2triton_client.errors import (
    AccessDenied,
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    ModelNotFound,
    ServerBusy,
    ServerError,
    ServerStopping,
)

_LAST = "connections to all backends failing; last error"
_TLS = "Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal"

TRITON = (
    (
        "UNAVAILABLE",
        "Server is stopping, scheduler for model has stopped accepting new inference requests",
        ServerStopping,
        None,
    ),
    ("UNAVAILABLE", "Server not ready", ServerStopping, None),
    ("UNAVAILABLE", "Server is stopping to serve requests.", ServerStopping, None),
    ("NOT_FOUND", "Request for unknown model: 'nope' is not found", ModelNotFound, None),
    ("NOT_FOUND", "Request for unknown model: 'no'pe\nx' is not found", ModelNotFound, None),
    ("NOT_FOUND", "Request for unknown model: 'sentiment' version 7 is not found", ModelNotFound, None),
    ("NOT_FOUND", "Request for unknown model: 'clothes' has no available versions", ModelNotFound, Reason.GONE),
    ("UNAVAILABLE", "Request for unknown model: 'sentiment' version 2 is not at ready state", ModelNotFound, None),
    ("INVALID_ARGUMENT", "requested model 'nope' is not available", ModelNotFound, None),
    (
        "INVALID_ARGUMENT",
        "load failed for model 'broken': version 1 is at UNAVAILABLE state: Internal: RuntimeError: explicit model load is not"
        " found\n\nAt:\n  /models/broken/1/model.py(1): <module>\n;\n",
        ServerError,
        None,
    ),
    (
        "INVALID_ARGUMENT",
        "[request id: <id_unknown>] inference request batch-size must be <= 64 for 'sentiment'",
        InputError,
        Reason.DOES_NOT_FIT,
    ),
    (
        "INVALID_ARGUMENT",
        "[request id: <id_unknown>] expected number of inputs between 1 and 2 but got 0 inputs for model 'sentiment'. Got"
        " input(s) [], but missing required input(s) ['text']. Please provide all required input(s).",
        InputError,
        Reason.DOES_NOT_FIT,
    ),
    (
        "INVALID_ARGUMENT",
        "unexpected inference input 'parameters' for model 'sentiment'",
        InputError,
        Reason.DOES_NOT_FIT,
    ),
    (
        "INVALID_ARGUMENT",
        "unexpected inference output 'fingerprint' for model 'sentiment'",
        InputError,
        Reason.DOES_NOT_FIT,
    ),
    ("INTERNAL", "Stub process 'sentiment_0_0' is not healthy.", ServerError, Reason.MODEL_DIED),
    ("INTERNAL", "failed to load 'nope', failed to poll from model repository", ServerError, Reason.NOT_IN_REPOSITORY),
    ("INTERNAL", "Cannot unregister shared memory region 'r', it is currently in use.", ServerError, Reason.IN_USE),
    (
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-hf2triton-control'",
        AccessDenied,
        Reason.RESTRICTED,
    ),
    (
        "UNAVAILABLE",
        "explicit model load / unload is not allowed if polling is enabled",
        ServerError,
        Reason.NOT_EXPLICIT,
    ),
)
GRPC = (
    (
        "UNAVAILABLE",
        f"{_LAST}: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect to remote host: Connection refused",
        ConnectionFailed,
        None,
    ),
    (
        "UNAVAILABLE",
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:42123: Failed to connect to remote host:"
        " Connection refused",
        ConnectionFailed,
        None,
    ),
    (
        "UNAVAILABLE",
        "errors resolving nohost.invalid:8001: [field:hostname lookup error:address lookup failed for nohost.invalid:8001: Domain"
        " name not found]",
        ConnectionFailed,
        None,
    ),
    ("UNAVAILABLE", f"{_LAST}: UNAVAILABLE: ipv4:127.0.0.1:43679: Socket closed", ConnectionFailed, None),
    (
        "UNAVAILABLE",
        f"{_LAST}: UNAVAILABLE: ipv4:127.0.0.1:33583: recvmsg:Connection reset by peer (104)",
        ConnectionFailed,
        None,
    ),
    (
        "UNAVAILABLE",
        f"{_LAST}: INTERNAL: ipv4:127.0.0.1:33399: Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, got frame"
        " type 80) (Trying to connect an http1.x server (HTTP status 400))",
        ConnectionFailed,
        None,
    ),
    ("UNAVAILABLE", "Stream removed (Socket closed)", ConnectionFailed, None),
    ("UNAVAILABLE", "Socket closed", ConnectionFailed, None),
    ("UNKNOWN", "Stream removed", ConnectionFailed, None),
    ("CANCELLED", "CANCELLED", ServerStopping, None),
    (
        "UNAVAILABLE",
        "Error in HTTP transport completing operation: send_initial_metadata_finished write_state=WRITING+MORE refs=2 flags=1"
        " peer_address=ipv4:127.0.0.1:46105 (Pending writes failed due to stream closure (sendmsg: Broken pipe (32)))",
        ConnectionFailed,
        None,
    ),
    (
        "UNAVAILABLE",
        f"{_LAST}: UNKNOWN: ipv4:127.0.0.1:1: {_TLS}:CERTIFICATE_VERIFY_FAILED: self signed certificate",
        AccessDenied,
        None,
    ),
    ("UNAVAILABLE", f"{_LAST}: UNKNOWN: ipv4:127.0.0.2:1: Hostname Verification Check failed.", AccessDenied, None),
    ("UNAVAILABLE", f"{_LAST}: UNKNOWN: ipv4:127.0.0.1:1: {_TLS}:WRONG_VERSION_NUMBER", AccessDenied, None),
    ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (9 vs. 4)", InputError, None),
    ("INTERNAL", "Exception serializing request!", InputError, None),
)
#: The texts of others that come with a status, and what is left of Triton's and gRPC's.
ANYONE = (
    ("CANCELLED", "Locally cancelled by application!", ServerError, None),
    ("UNKNOWN", "Unexpected <class 'RuntimeError'>: x", ServerError, None),
    ("INVALID_ARGUMENT", "input 0: the image cannot be read as GIF: image not found in GIF frame", InputError, None),
    ("DEADLINE_EXCEEDED", "Deadline Exceeded", DeadlineExceeded, None),
    ("NOT_FOUND", "Unable to find system shared memory region: 'r'", ModelNotFound, None),
    ("ALREADY_EXISTS", "x", ServerError, None),
    ("PERMISSION_DENIED", "RBAC: access denied", AccessDenied, None),
    ("RESOURCE_EXHAUSTED", "Too many requests", ServerBusy, None),
    ("FAILED_PRECONDITION", "x", ServerError, None),
    ("ABORTED", "x", ServerError, None),
    ("OUT_OF_RANGE", "x", InputError, None),
    ("UNIMPLEMENTED", "ModelInfer RPC doesn't support models with decoupled transaction policy", ServerError, None),
    ("INTERNAL", "input 0: the graph failed: a socket closed", ServerError, None),
    ("UNAVAILABLE", "Exceeds maximum queue size", ServerBusy, None),
    ("DATA_LOSS", "x", ServerError, None),
    ("UNAUTHENTICATED", "no key", AccessDenied, None),
)
