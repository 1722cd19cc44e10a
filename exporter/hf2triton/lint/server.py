"""What a running server tells any caller: its version, its models, and which of its control endpoints answer.

This changes nothing there: the calls only read, or name a model and a region of shared memory that do not exist. The answers were
seen with Triton 2.51 (the embedded version) in each of its modes:

    restricted    UNAVAILABLE  "This protocol is restricted, expecting header …"
    not explicit  UNAVAILABLE  "explicit model load / unload is not allowed if polling is enabled" (also with the mode `none`)
    open          INTERNAL     "failed to load '…', failed to poll from model repository"
                  INTERNAL     "Unable to open shared memory region: '…'"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.grpc import service_pb2, service_pb2_grpc

from hf2triton_client.error_rows import Reason
from hf2triton_client.errors import AccessDenied, from_rpc
from hf2triton_client.transport.connection import Target

from ..core.control import GRPC_PREFIX
from .cves import release_of

#: The name of a model and a region that no server has.
PROBE = "hf2triton-lint-probe"
#: Seconds that a call may take.
_SECONDS = 10.0

#: What an endpoint does for any caller: it answers, it requires credentials, or the server was started without it.
OPEN, CLOSED, OFF = "open", "closed", "off"
#: How servers newer than the table of errors may say that they were started without an endpoint. Their answer contains no name
#: but the probe's.
_OFF = re.compile(r"not (allowed|enabled|supported)|disabled", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """A server. `endpoints`: name -> OPEN, CLOSED or OFF. `ready`: model -> its ready versions. `configs`: model -> the served
    config. `mutual_tls`: callers without a certificate are refused."""

    url: str
    tls: bool
    version: str
    endpoints: Mapping[str, str]
    ready: Mapping[str, tuple[int, ...]]
    configs: Mapping[str, pb.ModelConfig] = field(default_factory=dict)
    mutual_tls: bool = False

    @property
    def release(self) -> str | None:
        return release_of(self.version)

    @property
    def on_loopback(self) -> bool:
        host = self.url.rsplit(":", 1)[0].strip("[]")
        return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


class _Calls:
    """The methods of a server. Each call has a deadline and these headers."""

    def __init__(self, channel: Any, headers: Mapping[str, str]) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._settings = {"timeout": _SECONDS, "metadata": [*headers.items()]}

    def __getattr__(self, method: str) -> Any:
        return partial(getattr(self._stub, method), **self._settings)


def look_at(url: str, names: tuple[str, ...], headers: Mapping[str, str] | None = None) -> Seen:
    """Queries a server at a gRPC url. `names`: those of the repository's models. `headers`: sent with each call, but keys of
    Triton's restricted endpoints not with the calls that find out what anybody may do. Raises the client's errors if no server
    answers."""
    headers = headers or {}
    # without retries: Triton refuses with a code that would be retried
    target = Target(url, timeout=_SECONDS, retries=0, headers=headers)
    with target.errors_mapped():
        channel = target.channel(grpc)
        try:
            stub = _Calls(channel, headers)
            about = stub.ServerMetadata(service_pb2.ServerMetadataRequest())
            ready = _ready(stub, names)
            configs = {name: found for name in ready if (found := _config(stub, name)) is not None}
            anybody = _Calls(channel, {key: value for key, value in headers.items() if not key.startswith(GRPC_PREFIX)})
            endpoints = {name: _state(partial(call, anybody)) for name, call in ENDPOINTS.items()}
        finally:
            channel.close()
    return Seen(
        target.url, target.tls is not None, about.version, endpoints, ready, configs, _wants_certificate(target)
    )


def _wants_certificate(target: Target) -> bool:
    """Whether a server that accepted this caller refuses callers without a certificate."""
    if target.tls is None or target.tls.private_key is None:
        return False
    channel = replace(target, tls=replace(target.tls, private_key=None, certificate_chain=None)).channel(grpc)
    try:
        stub = _Calls(channel, target.headers)
        stub.ServerMetadata(service_pb2.ServerMetadataRequest())
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        channel.close()
    return False


def _load(stub: Any) -> None:
    stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=PROBE))


def _register(stub: Any) -> None:
    request = service_pb2.SystemSharedMemoryRegisterRequest(name=PROBE, key=f"/{PROBE}", byte_size=1)
    stub.SystemSharedMemoryRegister(request)


def _regions(stub: Any) -> None:
    stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())


def _trace(stub: Any) -> None:
    stub.TraceSetting(service_pb2.TraceSettingRequest())


def _logging(stub: Any) -> None:
    stub.LogSettings(service_pb2.LogSettingsRequest())


#: Endpoints that can change or read more than a caller needs -> how to find out. Reading and changing settings is the same call.
ENDPOINTS: Mapping[str, Callable[[Any], None]] = {
    "model control": _load,
    "shared memory": _register,
    "shared memory status": _regions,
    "trace": _trace,
    "logging": _logging,
}


def _state(call: Callable[[], None]) -> str:
    """What an endpoint does. An unknown answer counts as open, because a false finding is better than a missed one."""
    try:
        call()
    except grpc.RpcError as error:
        refused = from_rpc(error.code().name, error.details() or "", "")
        if isinstance(refused, AccessDenied) or error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return CLOSED
        return OFF if refused.reason is Reason.NOT_EXPLICIT or _OFF.search(refused.said) else OPEN
    return OPEN


def _ready(stub: Any, names: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """The models that are ready, from the statistics. If these are restricted: those of `names`, without their versions."""
    try:
        found = stub.ModelStatistics(service_pb2.ModelStatisticsRequest())
    except grpc.RpcError:
        return {name: () for name in names if _is_ready(stub, name)}
    ready: dict[str, list[int]] = {}
    for one in found.model_stats:
        ready.setdefault(one.name, []).append(int(one.version))
    return {name: tuple(sorted(numbers)) for name, numbers in ready.items() if _is_ready(stub, name)}


def _is_ready(stub: Any, name: str) -> bool:
    try:
        return bool(stub.ModelReady(service_pb2.ModelReadyRequest(name=name)).ready)
    except grpc.RpcError:
        return False


def _config(stub: Any, name: str) -> pb.ModelConfig | None:
    try:
        return stub.ModelConfig(service_pb2.ModelConfigRequest(name=name)).config
    except grpc.RpcError:
        return None
