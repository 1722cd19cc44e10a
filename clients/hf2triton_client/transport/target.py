"""Where a server is and how to speak to it: url, TLS, credentials, deadline, and gRPC's settings of a channel."""

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

#: Milliseconds before a name may be looked up again after a connection has ended; gRPC's own 30 s would leave a server that was
#: added idle for as long.
_LOOK_UP_PAUSE_MS = 5_000
#: Milliseconds between two tries to connect, from the first to the longest. gRPC's own go up to 120 s, for which a server that is
#: back would be left alone.
_FIRST_CONNECT_PAUSE_MS, _LONGEST_CONNECT_PAUSE_MS = 100, 1_000
#: Milliseconds that a try to connect may take. TCP asks again after 1 and 3 s, then after 7: a new try is sooner.
_CONNECT_MS = 5_000
#: Seconds without a word from the server after which it is asked for a sign of life, at the least; a third of the deadline where
#: that is more. A Triton with gRPC's default settings ends a connection at the fourth such question within which it has sent
#: nothing (--grpc-http2-min-recv-ping-interval-without-data, --grpc-http2-max-ping-strikes): by then every call that was under
#: way at the first one is past its deadline. From 5 minutes on it takes them all.
_KEEP_ALIVE, _LONGEST_KEEP_ALIVE = 10.0, 300.0
#: Milliseconds for the sign of life; with it Linux ends a connection on which nothing that was sent has arrived for as long.
_KEEP_ALIVE_TIMEOUT_MS = 5_000


@dataclass(frozen=True)
class Target:
    """Where a server is and how to speak to it.

    `url`: `host:port`, or with a scheme, `grpc://` or `grpcs://` (the second means TLS). Where the host has several addresses
    requests go to all of them in turn. gRPC's own targets are taken as well: `dns://[server]/host:port` asks a certain DNS
    server, `ipv4:address:port,address:port` lists addresses.
    `timeout`: seconds that one request may take, retries and what it waits for its turn included.
    `retries`: further tries when the server is unreachable or refuses for now, with growing pauses, or those that it asks for. A
    model that was there and is not there any more is looked for on all servers, for 5 s. 0: each request is sent once.
    `headers`: sent with each call (credentials, restricted protocols).
    `tls`: by default there is none; with `grpcs://` it is that of the environment, see `Tls.from_environment`.
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
        """The arguments of `tritonclient.grpc.InferenceServerClient` and of its asyncio twin."""
        return {"url": self.url, "channel_args": self._channel_arguments(), "creds": self._credentials()}

    def channel(self, library: Any) -> Any:
        """A channel of `library`, which is `grpc` or `grpc.aio`. Raises AccessDenied and OSError for files of TLS."""
        if (credentials := self._credentials()) is None:
            return library.insecure_channel(self.url, self._channel_arguments())
        return library.secure_channel(self.url, credentials, self._channel_arguments())

    def _credentials(self) -> grpc.ChannelCredentials | None:
        return None if self.tls is None else self.tls.credentials()

    def _channel_arguments(self) -> list[tuple[str, Any]]:
        unlimited = -1
        keep_alive = min(max(self.timeout / 3, _KEEP_ALIVE), _LONGEST_KEEP_ALIVE)
        # Requests go to the addresses of a name in turn. gRPC looks a name up again when a connection ends: servers that end
        # theirs from time to time (--grpc-max-connection-age) make clients see those that were added.
        config = {"loadBalancingConfig": [{"round_robin": {}}]}
        return [
            ("grpc.max_send_message_length", unlimited),
            ("grpc.max_receive_message_length", unlimited),
            ("grpc.primary_user_agent", "hf2triton-client"),
            ("grpc.service_config", json.dumps(config)),
            ("grpc.dns_min_time_between_resolutions_ms", _LOOK_UP_PAUSE_MS),
            ("grpc.initial_reconnect_backoff_ms", _FIRST_CONNECT_PAUSE_MS),
            ("grpc.max_reconnect_backoff_ms", _LONGEST_CONNECT_PAUSE_MS),
            ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),  # so it is called, but it bounds a try
            ("grpc.keepalive_time_ms", int(keep_alive * 1e3)),
            ("grpc.keepalive_timeout_ms", _KEEP_ALIVE_TIMEOUT_MS),
            # of gRPC's own questions, with which it measures the bandwidth: only one at a time is under way
            ("grpc.http2.ping_timeout_ms", int(keep_alive * 1e3)),
            # a channel that is opened anew makes connections of its own, in a forked process as well
            ("grpc.use_local_subchannel_pool", 1),
            # `retries` decides what is sent again. With gRPC's own further tries a stream sometimes never ended when its server
            # was gone, not even at its deadline (grpcio 1.85: 4 of 11,000, without them none of 14,000)
            ("grpc.enable_retries", 0),
        ]

    @contextmanager
    def errors_mapped(self, first: int = 0) -> Iterator[None]:
        """Turns gRPC's and tritonclient's errors into ours. `first`: where the first input of the request stands in the call."""
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
    """What a server says of an input of a request that begins with the call's input `first`."""
    return re.sub(
        r"^(input|text|text_pair|image) (\d+)\b", lambda found: f"{found[1]} {int(found[2]) + first}", message
    )
