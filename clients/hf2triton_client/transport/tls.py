"""TLS for a connection: the trusted certificates, and the client's own certificate."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from ..errors import AccessDenied, InputError

#: The environment variable that names the folder `grpcs://` reads if no `tls` is given.
CLIENT_TLS = "HF2TRITON_CLIENT_TLS"
#: File names as in a Secret of type kubernetes.io/tls: the authorities, and the client's certificate with its key.
CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"


@dataclass(frozen=True)
class Tls:
    """TLS for a connection. Each field is the path of a PEM file; without `root_certificates`, gRPC's default roots are used.

    `private_key` and `certificate_chain` are the client's own, for mutual TLS. Raises InputError if only one of them is given.
    """

    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None

    def __post_init__(self) -> None:
        if (self.private_key is None) != (self.certificate_chain is None):
            raise InputError("mutual TLS needs both: private_key and certificate_chain")

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tls:
        """Reads a folder with `ca.crt`, and `tls.crt` and `tls.key` for mutual TLS. Raises InputError."""
        found = {name: str(path) for name in (CA, CERTIFICATE, KEY) if (path := Path(folder) / name).is_file()}
        if not found:
            raise InputError(f"{folder} holds none of {CA}, {CERTIFICATE} and {KEY}")
        return cls(found.get(CA), found.get(KEY), found.get(CERTIFICATE))

    @classmethod
    def from_environment(cls) -> Tls:
        """Reads the folder that $HF2TRITON_CLIENT_TLS names; without it, gRPC's default roots. Raises InputError."""
        folder = os.environ.get(CLIENT_TLS)
        return cls.from_folder(folder) if folder else cls()

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials for a channel. Raises AccessDenied if a file is wrong, and OSError if it cannot be read."""
        pems = (self.root_certificates, self.private_key, self.certificate_chain)
        read = [None if path is None else Path(path).read_bytes() for path in pems]
        # gRPC only logs such mistakes, or ends the process
        if self.root_certificates is not None:
            check_roots(self.root_certificates)
        if self.private_key is not None and self.certificate_chain is not None:
            check_pair(self.certificate_chain, self.private_key)
        return grpc.ssl_channel_credentials(*read)


def check_roots(path: str | Path) -> None:
    """Raises AccessDenied if a file does not hold certificates, and OSError if it cannot be read."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise AccessDenied(f"{path} holds no certificates in PEM: {_reason(error)}") from error


def check_pair(certificate: str | Path, key: str | Path) -> None:
    """Raises AccessDenied if a key does not belong to a certificate, and OSError if a file cannot be read."""
    try:
        # gRPC does not accept a password, and OpenSSL would ask for one on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise AccessDenied(
            f"{certificate} and {key} must be a certificate and its own key, in PEM and without a password: {_reason(error)}"
        ) from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").replace("_", " ").lower()
