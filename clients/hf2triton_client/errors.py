"""What can go wrong when a served model is called.

    ClientError
    ├── InputError           an input the model cannot take; nothing was sent (also a ValueError)
    ├── ConnectionFailed     no server answers at the url (also a ConnectionError)
    ├── DeadlineExceeded     no answer within `timeout` (also a TimeoutError)
    ├── ModelNotFound        the server has no such model, or it is not ready
    ├── WrongTask            the model serves another task, or was not written by hf2triton
    ├── AccessDenied         TLS, credentials or keys are missing or refused
    ├── ServerBusy           the server refused the request because it has too many (retry later)
    ├── ServerError          the model failed on this request, and other answers of the server
    ├── BaselineError        a recorded baseline that cannot be read, or belongs to another version
    └── ReportError          a report that cannot be read, written or compared
        └── UnknownForm      a file's ending that names no form of a report (also a ValueError)

`from_rpc` is the one place where gRPC's errors become ours.
"""

from __future__ import annotations

import re


class ClientError(Exception):
    """Base of every error of this package."""


class InputError(ClientError, ValueError):
    """An input the model cannot take."""


class ConnectionFailed(ClientError, ConnectionError):
    """No server answers at the url."""


class DeadlineExceeded(ClientError, TimeoutError):
    """The server did not answer within the deadline."""


class ModelNotFound(ClientError):
    """The server has no such model, or it is not ready."""


class WrongTask(ClientError):
    """The model serves another task than the one asked for."""


class AccessDenied(ClientError):
    """TLS, credentials or keys are missing or refused."""


class ServerBusy(ClientError):
    """The server refused the request because it has too many."""


class ServerError(ClientError):
    """The model failed on this request."""


class BaselineError(ClientError):
    """A recorded baseline that cannot be read, or belongs to another version."""


class ReportError(ClientError):
    """A report that cannot be read, written or compared."""


class UnknownForm(ReportError, ValueError):
    """A file's ending that names no form of a report."""

    exit_code = 2  # of the command line: wrong usage


#: gRPC status -> (error, what happened). The codes are those of grpc.StatusCode, as tritonclient names them.
STATUS = {
    "CANCELLED": (ServerError, "the call was cancelled"),
    "UNKNOWN": (ServerError, "the server failed"),
    "INVALID_ARGUMENT": (InputError, "the server refused the request"),
    "DEADLINE_EXCEEDED": (DeadlineExceeded, "no answer within the deadline"),
    "NOT_FOUND": (ModelNotFound, "the server does not know the model"),
    "ALREADY_EXISTS": (ServerError, "the server failed"),
    "PERMISSION_DENIED": (AccessDenied, "the server refused access"),
    "RESOURCE_EXHAUSTED": (ServerBusy, "the server is out of resources"),
    "FAILED_PRECONDITION": (ServerError, "the server refused the request"),
    "ABORTED": (ServerError, "the server aborted the request"),
    "OUT_OF_RANGE": (InputError, "the server refused the request"),
    "UNIMPLEMENTED": (ServerError, "the server does not offer this call"),
    "INTERNAL": (ServerError, "the model failed"),
    "UNAVAILABLE": (ServerBusy, "the server refused the request for now"),
    "DATA_LOSS": (ServerError, "the server failed"),
    "UNAUTHENTICATED": (AccessDenied, "the server wants credentials"),
}
# gRPC says UNAVAILABLE both when nobody answers and when Triton refuses; only the text tells them apart.
_NOBODY_ANSWERS = re.compile(
    r"failed to connect|connection refused|name resolution|errors resolving|dns|no such host|socket closed|connection reset"
    r"|broken pipe|handshake|unreachable|endpoint closing|goaway",
    re.IGNORECASE,
)
_NOT_READY = re.compile(r"unknown model|no available versions|is not ready|not found", re.IGNORECASE)
# Triton's words for a call that wants a header which was not sent, or has another value; it says UNAVAILABLE with them.
_RESTRICTED = re.compile(r"protocol is restricted, expecting header '([^']+)'", re.IGNORECASE)
#: What gRPC says of a failed handshake -> what it means, and what to do.
_TLS_FAILURES = {
    re.compile("CERTIFICATE_VERIFY_FAILED"): (
        "its certificate is not one to be trusted: is the right authority given, as Tls(root_certificates=…) or as ca.crt in the"
        " folder $HF2TRITON_CLIENT_TLS, and is the certificate still valid?"
    ),
    re.compile("Hostname Verification Check failed"): (
        "its certificate is for another name: use one of its names in the url, or have this one added to it"
    ),
    re.compile("WRONG_VERSION_NUMBER"): (
        "it does not speak TLS on this port: leave out tls= and grpcs://, or have the server use TLS"
    ),
}
# A connection that was refused during its handshake. Of a server that went away at work gRPC says "Socket closed" alone.
_CUT_OFF = re.compile(r"connections? to all .*(socket closed|connection reset|broken pipe)", re.IGNORECASE | re.DOTALL)
#: Whether the client uses TLS -> why a server may cut it off.
_WHY_CUT_OFF: dict[bool, str] = {
    False: " And if it wants TLS: is the url grpcs://… or tls= given?",
    True: " And if it wants a certificate of the client (mutual TLS): is one given that its authority has signed?",
}


def from_rpc(status: str | None, message: str, url: str, tls: bool = False) -> ClientError:
    """The error of ours for a gRPC answer: `status` as tritonclient gives it (`StatusCode.UNAVAILABLE`). `tls`: whether the
    client uses it."""
    code = (status or "UNKNOWN").rsplit(".", 1)[-1]
    error, what = STATUS.get(code, (ServerError, f"the server answered {code}"))
    if code == "UNAVAILABLE":
        for failure, meaning in _TLS_FAILURES.items():
            if failure.search(message):
                return AccessDenied(f"no TLS with the server at {url}: {meaning} (gRPC says: {message})")
        if _NOBODY_ANSWERS.search(message):
            hint = _WHY_CUT_OFF[tls] if _CUT_OFF.search(message) else ""
            return ConnectionFailed(
                f"no Triton server answers at {url} ({message}): is it running, and is this its gRPC port?{hint}"
            )
        if restricted := _RESTRICTED.search(message):
            return AccessDenied(
                f"the server at {url} lets only those do this who send its key in the header {restricted[1]!r}: none was sent, or"
                " another"
            )
    if code in ("UNAVAILABLE", "INVALID_ARGUMENT", "INTERNAL") and _NOT_READY.search(message):
        return ModelNotFound(f"{message} (at {url})")
    return error(f"{what} (at {url}): {message}")
