"""How somebody else than the process that started an embedded Triton may tell it what to load."""

from __future__ import annotations

#: The header that its control endpoints want, as HTTP names it.
CONTROL_HEADER = "hf2triton-control"
#: What Triton expects before the names of such headers over gRPC.
_GRPC_PREFIX = "triton-grpc-protocol-"
#: The variable of the environment with the header's value, for servers and for those who control them.
CONTROL_KEY = "HF2TRITON_CONTROL_KEY"


def control_headers(key: str) -> dict[str, str]:
    """The headers over gRPC that a server with this key wants of whoever controls it."""
    return {f"{_GRPC_PREFIX}{CONTROL_HEADER}": key}
