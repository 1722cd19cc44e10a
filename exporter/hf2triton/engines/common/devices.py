"""What this machine has beside its CPU."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

from ...triton_models.generation.cache import COPY
from ...triton_models.sessions import open_session

#: Any of them is there where a GPU is, whether or not this Python can use it.
_GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")


def devices() -> tuple[str, ...]:
    """Where graphs and PyTorch may run. What a GPU's driver leaves on the system tells that there is one; whether libraries can
    use it is another matter."""
    gpu = shutil.which("nvidia-smi") is not None or any(Path(path).exists() for path in _GPU_FILES)
    return ("cpu", "cuda") if gpu else ("cpu",)


@lru_cache
def runs_on_gpu() -> bool:
    """Whether this onnxruntime runs a graph on a GPU of this machine: the least graph is tried."""
    if "cuda" not in devices():
        return False
    try:
        open_session(COPY, "cuda", 0, 1)
    except Exception:  # onnxruntime's errors have no common base but Exception
        return False
    return True
