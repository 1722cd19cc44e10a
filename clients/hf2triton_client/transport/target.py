"""Where a server is and how to reach it: URL, TLS, credentials, deadline, and gRPC's channel settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.utils import InferenceServerException

from ..errors import AccessDenied, InputError, from_rpc
from .tls import Tls

#: Milliseconds before a name may be looked up again after a connection has ended. With gRPC's default of 30 s, a new server
#: would stay idle for that long.
_LOOK_UP_PAUSE_MS = 5_000
#: Milliseconds between two attempts to connect, first and longest. With gRPC's default, a server that is back could go
#: unnoticed for 120 s.
_FIRST_CONNECT_PAUSE_MS, _LONGEST_CONNECT_PAUSE_MS = 100, 1_000
#: Milliseconds that an attempt to connect may take. TCP asks again after 1, 3 and 7 s; a new attempt comes sooner than the last
#: of these.
_CONNECT_MS = 5_000
#: Minimum seconds of silence before a ping to the server; a third of the deadline if that is more. A Triton with gRPC's default
#: settings ends a connection at the fourth ping in a row during which it has sent nothing
#: (--grpc-http2-min-recv-ping-interval-without-data, --grpc-http2-max-ping-strikes): by then, every call that was under way at
#: the first ping is past its deadline. Pings at least 5 minutes apart are always accepted.
_KEEP_ALIVE, _LONGEST_KEEP_ALIVE = 10.0, 300.0
#: Milliseconds to answer a ping. Linux also uses this limit to end a connection on which sent data has not arrived for that
#: long.
_KEEP_ALIVE_TIMEOUT_MS = 5_000


@dataclass(frozen=True)
class Target:
    """Where a server is and how to reach it.

    `url`: `host:port`, optionally with a scheme: `grpc://`, or `grpcs://` for TLS. If the host has several addresses, requests
    go to all of them in turn. gRPC's own targets work too: `dns://[server]/host:port` asks a given DNS server,
    `ipv4:address:port,address:port` lists addresses.
    `timeout`: seconds that one request may take, including retries and waiting for its turn.
    `retries`: further tries when the server is unreachable or refuses for now, with growing pauses or those the server asks
    for. The client looks for a model that has gone on all servers, for 5 s. 0: each request is sent once.
    `headers`: sent with each call (credentials, restricted protocols).
    `tls`: none by default; with `grpcs://`, that of the environment, see `Tls.from_environment`.
    """

    url: str = "localhost:8001"
    timeout: float = 60.0
    retries: int = 3
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None

    def __post_init__(self) -> None:
        scheme, separator, address = self.url.rpartition("://")
        if separator and scheme not in ("grpc", "grpcs", "dns"):
            raise InputError(
                f"the client speaks gRPC: {self.url!r} should read host:port, grpc://host:port, grpcs://host:port or"
                " dns://[server]/host:port"
            )
        if not address:
            raise InputError("the url is empty; it should read host:port, such as localhost:8001")
        if self.timeout <= 0:
            raise InputError(f"timeout must be above 0 seconds, not {self.timeout}")
        object.__setattr__(self, "url", self.url if scheme == "dns" else address)
        if scheme == "grpcs" and self.tls is None:
            object.__setattr__(self, "tls", Tls.from_environment())

    def client_arguments(self) -> dict[str, Any]:
        """Returns the arguments of `tritonclient.grpc.InferenceServerClient` and of its asyncio counterpart."""
        return {"url": self.url, "channel_args": self._channel_arguments(), "creds": self._credentials()}

    def channel(self, library: Any) -> Any:
        """Returns a channel of `library`, which is `grpc` or `grpc.aio`. Raises AccessDenied and OSError for TLS files."""
        if (credentials := self._credentials()) is None:
            return library.insecure_channel(self.url, self._channel_arguments())
        return library.secure_channel(self.url, credentials, self._channel_arguments())

    def _credentials(self) -> grpc.ChannelCredentials | None:
        return None if self.tls is None else self.tls.credentials()

    def _channel_arguments(self) -> list[tuple[str, Any]]:
        unlimited = -1
        keep_alive = min(max(self.timeout / 3, _KEEP_ALIVE), _LONGEST_KEEP_ALIVE)
        # Requests go to the addresses of a name in turn. gRPC looks a name up again when a connection ends: servers that end
        # their connections from time to time (--grpc-max-connection-age) make clients notice added servers.
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        return [
            ("grpc.max_send_message_length", unlimited),
            ("grpc.max_receive_message_length", unlimited),
            ("grpc.primary_user_agent", "hf2triton-client"),
            ("grpc.service_config", json.dumps(config)),
            ("grpc.dns_min_time_between_resolutions_ms", _LOOK_UP_PAUSE_MS),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_CONNECT_PAUSE_MS),
            ("grpc.max_reconnect_backoff_ms", _LONGEST_CONNECT_PAUSE_MS),
            ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),  # despite its name, it limits a connection attempt
            ("grpc.keepalive_time_ms", int(keep_alive * 1e3)),
            ("grpc.keepalive_timeout_ms", _KEEP_ALIVE_TIMEOUT_MS),
            # for the pings with which gRPC measures the bandwidth: only one ping at a time is under way
            ("grpc.http2.ping_timeout_ms", int(keep_alive * 1e3)),
            # a reopened channel makes its own connections, in a forked process too
            ("grpc.use_local_subchannel_pool", 1),
            # `retries` decides what is sent again. With gRPC's own retries, a stream whose server was gone sometimes never
            # ended, not even at its deadline (grpcio 1.85: 4 of 11,000; without them none of 14,000)
            ("grpc.enable_retries", 0),
        ]

    @contextmanager
    def errors_mapped(self, first: int = 0) -> Iterator[None]:
        """Turns gRPC's and tritonclient's errors into ours. `first`: the position in the call of the request's first input."""
        try:
            yield
        except InferenceServerException as error:
            message = numbered(error.message() or "", first)
            raise from_rpc(error.status(), message, self.url, self.tls is not None) from error
        except grpc.RpcError as error:
            message = numbered(error.details() or "", first)
            raise from_rpc(str(error.code()), message, self.url, self.tls is not None) from error
        except OSError as error:
            if self.tls is None:
                raise
            raise AccessDenied(f"a TLS file cannot be read: {error}") from error


def numbered(message: str, first: int) -> str:
    """Returns a server's message about an input, with the input's position in the call. `first`: the call's first input in
    the request."""
    return re.sub(
        r"^(input|text|text_pair|image) (\d+)\b", lambda found: f"{found[1]} {int(found[2]) + first}", message
    )
