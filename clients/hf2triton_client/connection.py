"""A connection to a Triton server: url, TLS, credentials, retries and deadlines; and the same for asyncio."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from .errors import AccessDenied, ClientError, InputError, ModelNotFound, from_rpc
from .tls import Tls

#: Seconds between two tries of a request; they double from the first to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
#: Milliseconds before a name may be looked up again after a connection has ended; gRPC's own 30 s would leave a server that was
#: added idle for as long.
_LOOK_UP_PAUSE_MS = 5_000


@dataclass(frozen=True)
class Target:
    """Where a server is and how to speak to it.

    `url`: `host:port`, or with a scheme, `grpc://` or `grpcs://` (the second means TLS). Where the host has several addresses
    requests go to all of them in turn. gRPC's own targets are taken as well: `dns://[server]/host:port` asks a certain DNS
    server, `ipv4:address:port,address:port` lists addresses.
    `timeout`: seconds that one request may take, retries included.
    `retries`: further tries when the server is unreachable or refuses for now, with growing pauses.
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
        """A channel of `library`, which is `grpc` or `grpc.aio`, for calls that tritonclient does not offer."""
        if (credentials := self._credentials()) is None:
            return library.insecure_channel(self.url, self._channel_arguments())
        return library.secure_channel(self.url, credentials, self._channel_arguments())

    def pauses(self) -> Iterator[float]:
        """Seconds before each further try of a request, one after the other."""
        pauses = (min(_FIRST_PAUSE * 2**index, _LONGEST_PAUSE) for index in range(self._further_tries))
        return (pause * random.uniform(0.8, 1.2) for pause in pauses)

    @property
    def _further_tries(self) -> int:
        return min(self.retries, 4)  # gRPC allows no more

    def _credentials(self) -> grpc.ChannelCredentials | None:
        return None if self.tls is None else self.tls.credentials()

    def _channel_arguments(self) -> list[tuple[str, Any]]:
        unlimited, most = -1, 2**31 - 1
        # Requests go to the addresses of a name in turn. gRPC looks a name up again when a connection ends: servers that end
        # theirs from time to time (--grpc-max-connection-age) make clients see those that were added.
        config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
        arguments = [
            ("grpc.max_send_message_length", unlimited),
            ("grpc.max_receive_message_length", unlimited),
            ("grpc.primary_user_agent", "hf2triton-client"),
            ("grpc.dns_min_time_between_resolutions_ms", _LOOK_UP_PAUSE_MS),
        ]
        if self.retries:
            # gRPC's own retries: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
            policy = {
                "maxAttempts": self._further_tries + 1,
                "initialBackoff": f"{_FIRST_PAUSE}s",
                "maxBackoff": f"{_LONGEST_PAUSE}s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            }
            service = {"service": "inference.GRPCInferenceService"}
            # Not for streams: a blocking one waits for ever, past its deadline, if the server dies before it has answered
            # (grpcio 1.85). streams.py tries again itself.
            without = {"name": [{**service, "method": "ModelStreamInfer"}]}
            config["methodConfig"] = [{"name": [service], "retryPolicy": policy}, without]
            # by default a request of more than 256 KiB, such as a few images, is not tried again
            arguments += [("grpc.enable_retries", 1), ("grpc.per_rpc_retry_buffer_size", most)]
        arguments.append(("grpc.service_config", json.dumps(config)))
        return arguments

    @contextmanager
    def errors_mapped(self, first: int = 0) -> Iterator[None]:
        """Turns gRPC's and tritonclient's errors into ours. `first`: where the first input of the request stands in the call."""
        try:
            yield
        except InferenceServerException as error:
            message = numbered(error.message() or "", first)
            raise from_rpc(error.status(), message, self.url, self.tls is not None) from error
        except grpc.RpcError as error:  # the asyncio client lets some through
            message = numbered(error.details() or "", first)
            raise from_rpc(str(error.code()), message, self.url, self.tls is not None) from error
        except OSError as error:
            if self.tls is None:
                raise
            raise AccessDenied(f"a TLS file cannot be read: {error}") from error


@dataclass(frozen=True)
class Request:
    """One inference request, ready to be sent. `first`: the number of its first input in the call."""

    model: str
    inputs: list[triton.InferInput]
    outputs: list[triton.InferRequestedOutput]
    first: int = 0


def numbered(message: str, first: int) -> str:
    """What a server says of an input of a request that begins with the call's input `first`."""
    return re.sub(
        r"^(input|text|text_pair|image) (\d+)\b", lambda found: f"{found[1]} {int(found[2]) + first}", message
    )


def unknown_model(name: str, ready: Sequence[str], error: ModelNotFound) -> ModelNotFound:
    """`error`, with the names of the models that are ready."""
    known = ", ".join(sorted(ready)) or "none"
    return ModelNotFound(f"model {name!r} is not served here; ready: {known}. The server says: {error}")


class Connection:
    """A connection that is opened on first use and owned by whoever made it. Threads may share it.

    Leaving the `with` block (or `close()`) ends the channel; it holds no other resource.
    """

    def __init__(self, target: Target, max_in_flight: int = 4) -> None:
        self.target = target
        self.max_in_flight = max_in_flight
        with target.errors_mapped():
            self._client = triton.InferenceServerClient(**target.client_arguments())
            self._channel = target.channel(grpc)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._pool: ThreadPoolExecutor | None = None

    def model_config(self, name: str) -> dict[str, Any]:
        """The served config.pbtxt of a model, as the JSON form of the protobuf.

        Raises ModelNotFound (with the names of those that are ready) and the errors of the connection.
        """
        try:
            with self.target.errors_mapped():
                return self._client.get_model_config(name, as_json=True, **self._call())["config"]
        except ModelNotFound as error:
            raise unknown_model(name, self.ready_models(), error) from error

    def find_config(self, name: str) -> dict[str, Any] | None:
        """As `model_config`, but None where there is no such model."""
        try:
            return self.model_config(name)
        except ModelNotFound:
            return None

    def served_versions(self, name: str) -> list[str]:
        """The versions of a model that are served."""
        with self.target.errors_mapped():
            return list(self._client.get_model_metadata(name, as_json=True, **self._call()).get("versions", ()))

    def server_name(self) -> str:
        """What the server says it is, with its version and where it is."""
        with self.target.errors_mapped():
            about = self._client.get_server_metadata(as_json=True, **self._call())
        return f"{about['name']} {about['version']} at {self.target.url}"

    def ready_models(self) -> list[str]:
        """The names of the models that are ready, from the statistics (listing a repository is often restricted)."""
        try:
            with self.target.errors_mapped():
                statistics = self._client.get_inference_statistics(as_json=True, **self._call())
        except ClientError:
            return []
        return sorted({model["name"] for model in statistics.get("model_stats", ())})

    def compute_time(self, name: str) -> tuple[int, float]:
        """How many requests a model has answered, in all its versions, and the seconds it computed for them, copies included."""
        with self.target.errors_mapped():
            statistics = self._client.get_inference_statistics(name, as_json=True, **self._call())
        own = [model["inference_stats"] for model in statistics.get("model_stats", ())]
        took = sum(
            int(one.get(part, {}).get("ns", 0))
            for one in own
            for part in ("compute_input", "compute_infer", "compute_output")
        )
        return sum(int(one.get("success", {}).get("count", 0)) for one in own), took / 1e9

    def load_model(self, name: str, config: str | None = None, timeout: float = 600.0) -> None:
        """Makes the server read a model again, a version beside those it has or another config, and waits until it is ready.
        `config`: the JSON of the config to be used in place of the repository's. The server must be one that is told what to
        load, and may want a header for it."""
        with self.target.errors_mapped():
            self._client.load_model(name, config=config, headers=dict(self.target.headers), client_timeout=timeout)

    def unload_model(self, name: str) -> None:
        """Makes the server give up a model, once it has answered what it was asked before."""
        with self.target.errors_mapped():
            self._client.unload_model(name, **self._call())

    def infer(self, request: Request) -> triton.InferResult:
        """Sends one request and waits for its answer."""
        with self.target.errors_mapped(request.first):
            return self._client.infer(request.model, request.inputs, outputs=request.outputs, **self._call())

    def infer_all(self, requests: Sequence[Request]) -> list[triton.InferResult]:
        """Sends requests, `max_in_flight` at a time, and gives their answers in the order of the requests.

        The first failure is raised; requests that were not yet sent are then dropped.
        """
        if len(requests) <= 1:
            return [self.infer(request) for request in requests]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.max_in_flight, thread_name_prefix="hf2triton-client")
        futures = [self._pool.submit(self.infer, request) for request in requests]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def stream_infer(self, message: service_pb2.ModelInferRequest, timeout: float) -> Any:
        """Sends one request on a stream of its own: an iterator of `ModelStreamInferResponse` that has a `cancel`.

        `timeout`: seconds until it is given up. It is sent once.
        """
        return self._stub.ModelStreamInfer(iter([message]), metadata=[*self.target.headers.items()], timeout=timeout)

    def _call(self) -> dict[str, Any]:
        return {"headers": dict(self.target.headers), "client_timeout": self.target.timeout}

    def close(self) -> None:
        """Ends the channel. May be called twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()
        self._channel.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
