"""The shared memory that Triton's Python backend takes for what it hands to the frontends of a repository.

It copies all inputs of a batch there, and fails the whole batch where they do not fit; what it has taken it keeps. Clients keep
large requests apart (`triton_models/inputs.py`), so that small ones always fit where this is there:

    for each frontend: a full batch of requests that are not large + one that is as large as is taken
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

#: Where it is, and what each Python model takes at its start, and grows by.
PLACE, POOL_BYTES = Path("/dev/shm"), 1 << 20


def shared_memory_bytes(repository: Path, names: Collection[str]) -> int:
    """What these frontends take at most of requests that keep to the bounds, without the answers. One whose config cannot be read
    takes nothing."""
    return sum(_of(repository / name / CONFIG) for name in names)


def too_little(needed: int) -> str | None:
    """What to do where this machine has less; None where it has enough, or no such place."""
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
    except (OSError, ValueError, text_format.ParseError):  # it is not served; lint says why
        return 0
    largest: int = settings.get("max_bytes", 0) if "image" in settings.get("inputs", ()) else MAX_REQUEST_BYTES
    batch: int = max(config.max_batch_size, 1)
    return POOL_BYTES + batch * LARGE_BYTES + largest
