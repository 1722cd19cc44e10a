"""Controls who may call which endpoints of a server, by TLS and by a key that endpoints can require. docker/serve.sh does the
same for the container."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ..core.control import CONTROL_HEADER
from ..errors import UsageError

#: Endpoints that can change or read more than a caller needs. Shared memory is one too, unless it is allowed.
CONTROL = ("model-repository", "trace", "logging")
SHARED_MEMORY = "shared-memory"
#: All other endpoints except `health`. Triton's HTTP has no TLS, so when gRPC uses TLS, these also require the key over HTTP.
CALLS = ("inference", "metadata", "model-config", "statistics")
#: Where HTTP listens when gRPC uses TLS: health checks and the supervisor call from this machine or container.
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServerTls:
    """A folder with `tls.crt` and `tls.key`, as in a Secret of type kubernetes.io/tls. `mutual`: callers need a certificate from
    the authority in its `ca.crt`. Raises UsageError."""

    folder: Path
    mutual: bool = False

    def __post_init__(self) -> None:
        from hf2triton_client.errors import AccessDenied
        from hf2triton_client.transport.tls import check_pair, check_roots

        option = "--mutual-tls" if self.mutual else "--tls"
        needed = ["tls.crt", "tls.key", *(["ca.crt"] if self.mutual else [])]
        if missing := [name for name in needed if not (self.folder / name).is_file()]:
            raise UsageError(f"{option} {self.folder}: the folder lacks {' and '.join(missing)}")
        try:
            check_pair(self.folder / "tls.crt", self.folder / "tls.key")
            if self.mutual:
                check_roots(self.folder / "ca.crt")
        except (AccessDenied, OSError) as error:
            raise UsageError(f"{option} {self.folder}: {error}") from error

    def flags(self) -> list[str]:
        folder = self.folder.resolve()
        own = [
            "--grpc-use-ssl=true",
            f"--grpc-server-cert={folder / 'tls.crt'}",
            f"--grpc-server-key={folder / 'tls.key'}",
        ]
        return [*own, "--grpc-use-ssl-mutual=true", f"--grpc-root-cert={folder / 'ca.crt'}"] if self.mutual else own


def server_tls(tls: Path | None, mutual_tls: Path | None) -> ServerTls | None:
    """Returns the TLS that either of the options asks for. Raises UsageError."""
    if tls is not None and mutual_tls is not None:
        raise UsageError("--mutual-tls is TLS as well: give it alone, without --tls")
    if mutual_tls is not None:
        return ServerTls(mutual_tls, mutual=True)
    return None if tls is None else ServerTls(tls)


@dataclass(frozen=True)
class Access:
    """Who may call what. `key`: the key that closed endpoints require; by default nobody knows it."""

    tls: ServerTls | None = None
    shared_memory: bool = False
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def address(self, protocol: str, host: str) -> str:
        """Where `http`, `grpc` or `metrics` listens on a server at `host`."""
        return LOOPBACK if protocol == "http" and self.tls is not None else host

    def flags(self) -> list[str]:
        """The flags for tritonserver, which accepts the key only on its command line."""
        closed = [*CONTROL, *([] if self.shared_memory else [SHARED_MEMORY])]
        over_http = [*closed, *(CALLS if self.tls is not None else ())]
        return [
            f"--http-restricted-api={','.join(over_http)}:{CONTROL_HEADER}={self.key}",
            f"--grpc-restricted-protocol={','.join(closed)}:{CONTROL_HEADER}={self.key}",
            *([] if self.tls is None else self.tls.flags()),
        ]
