"""The devices of this machine."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

from ...triton_models.generation.cache import COPY
from ...triton_models.sessions import open_session

#: A machine with a GPU has at least one of these files, whether or not this Python can use the GPU.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")


def devices() -> tuple[str, ...]:
    """The devices on which graphs and PyTorch may run. A GPU driver's files show that a GPU exists, not that libraries can use
    it."""
    gpu = shutil.which("nvidia-smi") is not None or any(Path(path).exists() for path in _GPU_FILES)
    return ("cpu", "cuda") if gpu else ("cpu",)


@lru_cache
def runs_on_gpu() -> bool:
    """Whether the installed onnxruntime can run a graph on a GPU of this machine. Tries a tiny graph."""
    if "cuda" not in devices():
        return False
    try:
        open_session(COPY, "cuda", device_id=0, threads=1)
    except Exception:  # onnxruntime's errors have no other common base class
        return False
    return True
