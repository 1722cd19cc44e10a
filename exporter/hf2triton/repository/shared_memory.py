"""The shared memory that Triton's Python backend needs to pass inputs to the frontends of a repository.

The backend copies all inputs of a batch there, fails the whole batch if they do not fit, and never releases what it has taken.
Clients keep large requests apart (`triton_models/inputs.py`), so small ones always fit if the machine has this much:

    for each frontend: a full batch of requests that are not large + one of the largest accepted size
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.transport.served_model import LARGE_BYTES, MAX_REQUEST_BYTES, PARAMETER

from ..core.layout import CONFIG
from ..core.sizes import mebibytes

#: Where the shared memory is, and how much each Python model takes when it starts and each time it grows.
PLACE, POOL_BYTES = Path("/dev/shm"), 1 << 20


def shared_memory_bytes(repository: Path, names: Collection[str]) -> int:
    """The most bytes that these frontends take for requests within the bounds, without the answers. A frontend with an unreadable
    config counts as 0."""
    return sum(_of(repository / name / CONFIG) for name in names)


def too_little(needed: int) -> str | None:
    """What to do if this machine has less; None if it has enough, or no shared memory folder."""
    try:
        statistics = os.statvfs(PLACE)
    except OSError:
        return None
    size = statistics.f_blocks * statistics.f_frsize
    if size >= needed:
        return None
    return (
        f"{PLACE} has {mebibytes(size)}, and these models may take {mebibytes(needed)} of it: a batch that does not fit fails"
        f" as a whole. Give it more (docker run --shm-size={-(-needed // (1 << 20))}m, shm_size in a compose file, an emptyDir of"
        " medium Memory in Kubernetes), or export with a smaller --max-batch-size"
    )


def _of(path: Path) -> int:
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        settings = json.loads(config.parameters[PARAMETER].string_value or "{}")
    except (OSError, ValueError, text_format.ParseError):  # not served; lint reports why
        return 0
    largest: int = settings.get("max_bytes", 0) if "image" in settings.get("inputs", ()) else MAX_REQUEST_BYTES
    batch: int = max(config.max_batch_size, 1)
    return POOL_BYTES + batch * LARGE_BYTES + largest
