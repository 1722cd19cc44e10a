"""Errors of calls to a served model.

    ClientError
    ├── InputError           the model cannot take an input; nothing was sent (also a ValueError)
    ├── ConnectionFailed     no server answers at the URL (also a ConnectionError)
    │   └── GenerationInterrupted  the server went away in the middle of a text; holds the part that had arrived
    ├── ConnectionClosed     the connection or the pipeline was closed, before the call or during it
    ├── DeadlineExceeded     no answer within `timeout` (also a TimeoutError)
    ├── ModelNotFound        the server has no such model, or it is not ready
    ├── WrongTask            the model serves another task, or was not written by hf2triton
    ├── AccessDenied         TLS, credentials or keys are missing or refused
    ├── ServerBusy           the request was refused because there are too many (retry later, see `retry_after`)
    │   └── ServerStopping   the server is about to end
    ├── ServerError          the model failed on this request, or the server failed otherwise
    ├── BaselineError        a recorded baseline cannot be read, or belongs to another version
    └── ReportError          a report cannot be read, written or compared
        └── UnknownForm      a file's ending does not name a report format (also a ValueError)

`TABLE` alone defines which error a gRPC status becomes; `from_rpc` and `from_stream` use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby

from .error_rows import Origin, Reason, Row, otherwise, row


class ClientError(Exception):
    """Base class of all errors of this package.

    If the error was made from a server's answer, `said` is the text of that answer, `reason` is its meaning if the class alone
    does not express it, and `about` holds the names in it.
    """

    said: str = ""
    reason: Reason | None = None
    about: Mapping[str, str] = {}


class InputError(ClientError, ValueError):
    """The model cannot take an input, or an option or an argument is wrong."""


class ConnectionFailed(ClientError, ConnectionError):
    """No server answers at the URL."""


class ConnectionClosed(ClientError):
    """The connection or the pipeline was closed, before the call or during it. Open a new one."""


class GenerationInterrupted(ConnectionFailed):
    """The server went away in the middle of a text. `text`: the part that had arrived, of `num_output_tokens` tokens."""

    def __init__(self, message: str, text: str = "", num_output_tokens: int = 0) -> None:
        super().__init__(message)
        self.text = text
        self.num_output_tokens = num_output_tokens


class DeadlineExceeded(ClientError, TimeoutError):
    """The server did not answer within the deadline."""


class ModelNotFound(ClientError):
    """The server has no such model, or it is not ready."""


class WrongTask(ClientError):
    """The model serves another task than the requested one."""


class AccessDenied(ClientError):
    """TLS, credentials or keys are missing or refused."""


class ServerBusy(ClientError):
    """The server, or the client itself, refused the request because there are too many.

    `retry_after`: seconds after which another try may succeed; None if unknown.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServerStopping(ServerBusy):
    """The server is about to end. Another server may answer, or the same server once it is back."""


class ServerError(ClientError):
    """The model failed on this request, or the server failed otherwise."""


class BaselineError(ClientError):
    """A recorded baseline cannot be read, or belongs to another version."""


class ReportError(ClientError):
    """A report cannot be read, written or compared."""


class UnknownForm(ReportError, ValueError):
    """A file's ending does not name a report format."""

    exit_code = 2  # of the command line: wrong usage


_Row = Row[ClientError]

_REFUSED, _MODEL_FAILED, _SERVER_FAILED = "the server refused the request", "the model failed", "the server failed"
_SAID = "{message} (at {url})"
_NOBODY = "no Triton server answers at {url} ({message}): is it running, and is this its gRPC port?{hint}"
_NO_TLS = "no TLS with the server at {{url}}: {} (gRPC says: {{message}})"
#: The beginnings of gRPC's messages when no connection can be made, and when a connection ended during a request.
_NOT_CONNECTED = r"(?:failed to connect to all addresses|connections to all backends failing|last error: )"
_CUT_OFF = r"(?:Socket closed|(?:recvmsg:|sendmsg: ?)?(?:Connection reset by peer|Broken pipe))(?: \(\d+\))?"
_ENDED = (
    rf"{_CUT_OFF}|Stream removed(?: \(.*\))?|Failed to connect to remote host: .*|Transport closed.*|GOAWAY received.*"
    r"|Error in HTTP transport completing operation: .*|Endpoint (?:closing|read failed).*|(?:keepalive watchdog|ping) timeout"
    r"|Connection (?:refused|aborted|closed|going away).*"
    r"|Received http2 header with status: \d+|Too many pings|Network is unreachable|No route to host"
)
#: gRPC's messages when it cannot find the servers of a name, and load balancers' messages when they have no server.
_NO_ADDRESS = (
    r"errors resolving .*|DNS resolution failed.*|[Nn]ame resolution fail.*|empty address list.*|no such host"
    r"|upstream connect error or disconnect/reset before headers.*|no healthy upstream"
)
#: The beginning of Triton's messages about a request's shape. The caller can set the id; this client sends none.
_OF_REQUEST = r"(?:\[request id: <id_unknown>\] )?"
#: A server that cuts off the connection may require TLS, or a client certificate. If a server went away while it was working,
#: gRPC says only "Socket closed".
_WHY_CUT_OFF: Mapping[bool, str] = {
    False: " And if it wants TLS: is the url grpcs://… or tls= given?",
    True: " And if it wants a certificate of the client (mutual TLS): is one given that its authority has signed?",
}
#: Triton's messages while it stops, from the first signal on; "has no available versions" follows as soon as a model is gone.
_STOPPING = (
    rf"{_OF_REQUEST}(?:Server is stopping, scheduler for model has stopped accepting new inference requests|Server not ready"
    r"|Server is stopping to serve requests\.|Server exiting)"
)
#: gRPC's server ends calls with the single word CANCELLED while it shuts down.
_SAID_STOPPING = "the server is stopping (at {url}): {message}"
#: The end of the message of a server that refuses a request for now: when to retry.
_RETRY_AFTER = re.compile(r".*; retry after (\d+(?:\.\d+)?) s", re.DOTALL)
_GONE = r"Request for unknown model: '.*' has no available versions"
_UNKNOWN_MODEL = (
    r"Request for unknown model: '.*'(?: version -?\d+)?"
    r" (?:is not found|has no available versions|is not at ready state)"
)

#: The first row that matches a message applies. The last row of each status matches every other message. The sentences are
#: those of Triton 24.10 and of grpcio 1.60 to 1.85. grpcio says UNAVAILABLE both when no server answers and when Triton
#: refuses.
TABLE: tuple[_Row, ...] = (
    row("CANCELLED", Origin.GRPC, "CANCELLED", ServerStopping, _SAID_STOPPING),
    otherwise("CANCELLED", ServerError, "the call was cancelled"),
    row("UNKNOWN", Origin.GRPC, _ENDED, ConnectionFailed, _NOBODY),
    otherwise("UNKNOWN", ServerError, _SERVER_FAILED),
    row("INVALID_ARGUMENT", Origin.TRITON, r"requested model '.*' is not available", ModelNotFound, _SAID),
    row("INVALID_ARGUMENT", Origin.TRITON, r"load failed for model '.*': .*", ServerError, _SAID),
    *(
        row(
            "INVALID_ARGUMENT",
            Origin.TRITON,
            says,
            InputError,
            f"{_REFUSED} (at {{url}}): {{message}}",
            Reason.DOES_NOT_FIT,
        )
        for says in (
            rf"{_OF_REQUEST}inference request batch-size must be <= \d+ for '.*'",
            rf"{_OF_REQUEST}expected (?:number of inputs between \d+ and )?\d+ (?:inputs )?but got \d+ inputs for model '.*'.*",
            r"unexpected inference (?:input|output) '.*' for model '.*'",
        )
    ),
    otherwise("INVALID_ARGUMENT", InputError, _REFUSED),
    otherwise("DEADLINE_EXCEEDED", DeadlineExceeded, "no answer within the deadline"),
    row("NOT_FOUND", Origin.TRITON, _GONE, ModelNotFound, _SAID, Reason.GONE),
    row("NOT_FOUND", Origin.TRITON, _UNKNOWN_MODEL, ModelNotFound, _SAID),
    otherwise("NOT_FOUND", ModelNotFound, "the server does not know the model"),
    otherwise("ALREADY_EXISTS", ServerError, _SERVER_FAILED),
    otherwise("PERMISSION_DENIED", AccessDenied, "the server refused access"),
    row("RESOURCE_EXHAUSTED", Origin.GRPC, r"(?:CLIENT: )?Sent message larger than max.*", InputError, _SAID),
    otherwise("RESOURCE_EXHAUSTED", ServerBusy, "the server is out of resources"),
    otherwise("FAILED_PRECONDITION", ServerError, _REFUSED),
    otherwise("ABORTED", ServerError, "the server aborted the request"),
    otherwise("OUT_OF_RANGE", InputError, _REFUSED),
    otherwise("UNIMPLEMENTED", ServerError, "the server does not offer this call"),
    row(
        "INTERNAL",
        Origin.GRPC,
        r"Exception serializing request!",
        InputError,
        "the request is too large to be sent (to {url}): {message}",
    ),
    row(
        "INTERNAL",
        Origin.TRITON,
        r"Stub process (?:'.*' )?is not healthy\.",
        ServerError,
        f"{_MODEL_FAILED} (at {{url}}): {{message}}",
        Reason.MODEL_DIED,
    ),
    row(
        "INTERNAL",
        Origin.TRITON,
        r"failed to load '.*', failed to poll from model repository",
        ServerError,
        _SAID,
        Reason.NOT_IN_REPOSITORY,
    ),
    row(
        "INTERNAL",
        Origin.TRITON,
        r"Cannot unregister shared memory region '.*', it is currently in use\.",
        ServerError,
        _SAID,
        Reason.IN_USE,
    ),
    otherwise("INTERNAL", ServerError, _MODEL_FAILED),
    *(
        row("UNAVAILABLE", Origin.GRPC, rf"{_NOT_CONNECTED}.*{failure}.*", AccessDenied, _NO_TLS.format(meaning))
        for failure, meaning in (
            (
                "CERTIFICATE_VERIFY_FAILED",
                "its certificate is not one to be trusted: is the right authority given, as Tls(root_certificates=…) or as ca.crt"
                " in the folder $HF2TRITON_CLIENT_TLS, and is the certificate still valid?",
            ),
            (
                "Hostname Verification Check failed",
                "its certificate is for another name: use one of its names in the url, or have this one added to it",
            ),
            (
                "WRONG_VERSION_NUMBER",
                "it does not speak TLS on this port: leave out tls= and grpcs://, or have the server use TLS",
            ),
        )
    ),
    replace(
        row("UNAVAILABLE", Origin.GRPC, rf"{_NOT_CONNECTED}.*{_CUT_OFF}", ConnectionFailed, _NOBODY), hints=_WHY_CUT_OFF
    ),
    row("UNAVAILABLE", Origin.GRPC, rf"{_NOT_CONNECTED}.*|{_ENDED}|{_NO_ADDRESS}", ConnectionFailed, _NOBODY),
    row(
        "UNAVAILABLE",
        Origin.TRITON,
        r"This protocol is restricted, expecting header '(?P<header>[^']+)'",
        AccessDenied,
        "the server at {url} lets only those do this who send its key in the header '{header}': none was sent, or another",
        Reason.RESTRICTED,
    ),
    row("UNAVAILABLE", Origin.TRITON, _UNKNOWN_MODEL, ModelNotFound, _SAID),
    row("UNAVAILABLE", Origin.TRITON, _STOPPING, ServerStopping, _SAID_STOPPING),
    row(
        "UNAVAILABLE",
        Origin.TRITON,
        r"explicit model load / unload is not allowed if polling is enabled",
        ServerError,
        _SAID,
        Reason.NOT_EXPLICIT,
    ),
    otherwise("UNAVAILABLE", ServerBusy, "the server refused the request for now"),
    otherwise("DATA_LOSS", ServerError, _SERVER_FAILED),
    otherwise("UNAUTHENTICATED", AccessDenied, "the server wants credentials"),
)
#: gRPC status -> its rows. The names are those of grpc.StatusCode, as tritonclient returns them.
STATUS: Mapping[str, tuple[_Row, ...]] = {code: tuple(rows) for code, rows in groupby(TABLE, lambda one: one.code)}
#: Messages that Triton may have sent if there is no status.
_TRITON = tuple(one for one in TABLE if one.origin is Origin.TRITON)
#: The beginning of an error of one of our models within a stream, where Triton passes on only the text -> gRPC's status. (The
#: header `triton_grpc_error` adds a status, but then Triton 24.10 crashes if a request fails at once: it still uses the stream
#: that the error has closed. Seen after 5 to 140 such requests.)
_IN_STREAM = {"INVALID_ARG": "INVALID_ARGUMENT", "UNAVAILABLE": "UNAVAILABLE", "INTERNAL": "INTERNAL"}
_OURS = re.compile(rf"({'|'.join(_IN_STREAM)}): (.*)", re.DOTALL)


def from_rpc(status: str | None, message: str, url: str, tls: bool = False) -> ClientError:
    """Our error for a gRPC answer. `status`: as tritonclient returns it (`StatusCode.UNAVAILABLE`), or None. `tls`: whether
    the client uses TLS."""
    if status is None:
        return _made((*_TRITON, STATUS["UNKNOWN"][-1]), message, url, tls)
    code = status.rsplit(".", 1)[-1]
    rows = STATUS.get(code, (otherwise(code, ServerError, f"the server answered {code}"),))
    return _made(rows, message, url, tls)


def from_stream(text: str, url: str) -> ClientError:
    """Our error for a text within a stream: either from one of our models, after a status, or from Triton, without a status."""
    if ours := _OURS.fullmatch(text):
        return _made(STATUS[_IN_STREAM[ours[1]]][-1:], ours[2], url, False)
    return _made((*_TRITON, STATUS["INTERNAL"][-1]), text, url, False)


def _made(rows: tuple[_Row, ...], message: str, url: str, tls: bool) -> ClientError:
    """The error of the first row that a message matches; the last row matches any message."""
    found, about = next((one, about) for one in rows if (about := one.match(message)) is not None)
    made = found.error(found.text(message, url, tls, about))
    made.said, made.reason, made.about = message, found.reason, about
    if isinstance(made, ServerBusy) and (hint := _RETRY_AFTER.fullmatch(message)):
        made.retry_after = float(hint[1])
    return made
