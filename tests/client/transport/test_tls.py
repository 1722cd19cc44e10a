"""What TLS is made of: files, folders, the environment; and mistakes in them, which gRPC tells in its log alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf2triton_client import AccessDenied, InputError, Tls, connect
from hf2triton_client.errors import ConnectionFailed, ServerBusy, from_rpc
from hf2triton_client.transport.connection import Target
from hf2triton_client.transport.tls import CLIENT_TLS

from ...certificates import make_certificates


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_a_folder_has_the_names_of_a_secret(made, tmp_path):
    """ca.crt, tls.crt and tls.key; one that has the authority alone is enough where the server wants nothing of callers."""
    folder = made / "caller"
    assert Tls.from_folder(folder) == Tls(*(str(folder / name) for name in ("ca.crt", "tls.key", "tls.crt")))
    (tmp_path / "ca.crt").write_bytes((folder / "ca.crt").read_bytes())
    assert Tls.from_folder(tmp_path) == Tls(root_certificates=str(tmp_path / "ca.crt"))


def test_the_environment_names_the_folder(made, monkeypatch):
    """For grpcs:// alone, and where no tls is given."""
    monkeypatch.setenv(CLIENT_TLS, str(made / "caller"))
    assert Target("grpcs://localhost:1").tls == Tls.from_folder(made / "caller")
    assert Target("grpcs://localhost:1", tls=Tls()).tls == Tls()
    assert Target("localhost:1").tls is None
    monkeypatch.setenv(CLIENT_TLS, "")
    assert Target("grpcs://localhost:1").tls == Tls()


def test_a_folder_without_certificates_is_refused(tmp_path, monkeypatch):
    """A wrong folder is not taken for the usual authorities."""
    monkeypatch.setenv(CLIENT_TLS, str(tmp_path / "missing"))
    with pytest.raises(InputError, match=r"missing holds none of ca\.crt, tls\.crt and tls\.key"):
        connect("grpcs://localhost:1")


@pytest.mark.parametrize("given", ["private_key", "certificate_chain"])
def test_half_a_pair_is_refused(made, given):
    """gRPC would end the process."""
    with pytest.raises(InputError, match="mutual TLS needs both"):
        Tls(**{given: str(made / "caller" / "tls.key")})


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("control.key", None, None), "control.key holds no certificates in PEM"),
        (("caller/ca.crt", "server/tls.key", "caller/tls.crt"), "must be a certificate and its own key"),
        (("caller/ca.crt", "caller/tls.crt", "caller/tls.crt"), "must be a certificate and its own key"),
        (("caller/ca.crt", "locked.key", "caller/tls.crt"), "without a password"),
        (("missing.crt", None, None), "a TLS file cannot be read: .*missing.crt"),
    ],
)
def test_files_that_are_something_else_are_told(made, files, told):
    """Before anything is sent, with the file's name."""
    if "locked.key" in files:
        _lock(made / "caller" / "tls.key", made / "locked.key")
    with pytest.raises(AccessDenied, match=told):
        connect("localhost:1", tls=Tls(*(name and str(made / name) for name in files)))


def _lock(key: Path, locked: Path) -> None:
    import subprocess

    command = ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", str(locked), "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("message", "error", "told"),
    [
        (
            "failed to connect to all addresses; … CERTIFICATE_VERIFY_FAILED: certificate has expired",
            AccessDenied,
            "still valid",
        ),
        ("last error: … Hostname Verification Check failed.", AccessDenied, "for another name"),
        ("last error: … SSL_ERROR_SSL: WRONG_VERSION_NUMBER", AccessDenied, "does not speak TLS"),
        (
            "This protocol is restricted, expecting header 'triton-grpc-protocol-x'",
            AccessDenied,
            "'triton-grpc-protocol-x'",
        ),
        ("Exceeds maximum queue size", ServerBusy, "for now"),
    ],
)
def test_what_went_wrong_is_told(message, error, told):
    """With what gRPC or Triton said of it, and what to do; a server that is busy is another thing."""
    raised = from_rpc("StatusCode.UNAVAILABLE", message, "localhost:1", tls=True)
    assert type(raised) is error
    assert told in str(raised)
    assert "localhost:1" in str(raised)


@pytest.mark.parametrize(("tls", "hint"), [(False, "grpcs://"), (True, "mutual TLS")])
def test_a_hint_is_given_only_where_it_may_help(tls, hint):
    """When the connection was cut off at its start, not when a server went away or is not there."""
    for message, given in (
        ("connections to all backends failing; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed", True),
        ("Socket closed", False),
        ("connections to all backends failing; last error: UNKNOWN: Connection refused", False),
    ):
        raised = from_rpc("StatusCode.UNAVAILABLE", message, "localhost:1", tls)
        assert type(raised) is ConnectionFailed
        assert (hint in str(raised)) == given
