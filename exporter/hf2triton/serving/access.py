"""Who may call what of a server: TLS, and endpoints that want a key. docker/serve.sh does the same for the container."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from ..core.control import CONTROL_HEADER
from ..errors import UsageError

#: Endpoints that can change or read more than a caller needs. Shared memory is one more, unless it was allowed.
CONTROL = ("model-repository", "trace", "logging")
SHARED_MEMORY = "shared-memory"
#: All others but `health`. Triton's HTTP has no TLS: beside gRPC with TLS these want the key there as well.
CALLS = ("inference", "metadata", "model-config", "statistics")
#: Where HTTP listens beside TLS: health checks and the guard come from this machine, or this container.
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServerTls:
    """A folder with `tls.crt` and `tls.key`, as a Secret of type kubernetes.io/tls has them. `mutual`: callers must have a
    certificate of the authority in its `ca.crt`. Raises UsageError."""

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
    """What one of two options asks for. Raises UsageError."""
    if tls is not None and mutual_tls is not None:
        raise UsageError("--mutual-tls is TLS as well: give it alone, without --tls")
    if tls is None and mutual_tls is None:
        return None
    return ServerTls(tls or mutual_tls, mutual=mutual_tls is not None)


@dataclass(frozen=True)
class Access:
    """`key`: what those must send who use closed endpoints; by default nobody knows it."""

    tls: ServerTls | None = None
    shared_memory: bool = False
    key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    def address(self, protocol: str, host: str) -> str:
        """Where `http`, `grpc` or `metrics` listens on a server at `host`."""
        return LOOPBACK if protocol == "http" and self.tls is not None else host

    def flags(self) -> list[str]:
        """Of tritonserver, which takes the key on its command line alone."""
        closed = [*CONTROL, *([] if self.shared_memory else [SHARED_MEMORY])]
        over_http = [*closed, *(CALLS if self.tls is not None else ())]
        return [
            f"--http-restricted-api={','.join(over_http)}:{CONTROL_HEADER}={self.key}",
            f"--grpc-restricted-protocol={','.join(closed)}:{CONTROL_HEADER}={self.key}",
            *([] if self.tls is None else self.tls.flags()),
        ]
