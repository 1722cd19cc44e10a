"""gRPC's errors become ours, in one place."""

import grpc
import pytest

from hf2triton_client import errors
from hf2triton_client.errors import STATUS, ClientError, from_rpc


def test_every_status_is_mapped():
    """No gRPC status but OK is left without an error of ours."""
    assert set(STATUS) == {code.name for code in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_an_error_names_the_url_and_what_the_server_said(code):
    """Each mapped error is a ClientError that says where and what."""
    error = from_rpc(str(code), "the details", "localhost:1")
    assert isinstance(error, ClientError)
    assert "localhost:1" in str(error)
    assert "the details" in str(error)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", errors.ConnectionFailed),
        ("StatusCode.UNAVAILABLE", "Connection reset by peer", errors.ConnectionFailed),
        ("StatusCode.UNAVAILABLE", "errors resolving nohost:8001: [Domain name not found]", errors.ConnectionFailed),
        ("StatusCode.UNAVAILABLE", "Request for unknown model: 'x' has no available versions", errors.ModelNotFound),
        ("StatusCode.UNAVAILABLE", "Exceeds maximum queue size", errors.ServerBusy),
        ("StatusCode.NOT_FOUND", "Request for unknown model: 'x' is not found", errors.ModelNotFound),
        ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded", errors.DeadlineExceeded),
        ("StatusCode.UNAUTHENTICATED", "no key", errors.AccessDenied),
        (None, "something else", errors.ServerError),
    ],
)
def test_unavailable_is_told_apart_by_its_text(status, message, expected):
    """Nobody answering, a model that is not there and a full queue are three different errors."""
    assert type(from_rpc(status, message, "localhost:1")) is expected


def test_every_error_is_exported():
    """The public surface holds every error, and __all__ is complete."""
    import hf2triton_client

    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ClientError)}
    assert ours <= set(hf2triton_client.__all__)
    public = {name for name in vars(hf2triton_client) if not name.startswith("_")}
    assert set(hf2triton_client.__all__) <= public
