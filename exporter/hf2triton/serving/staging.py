"""Lays out what an embedded Triton needs besides the repository."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

from ..triton_models import memory, outgoing
from .requirements import Installation

#: The backends whose models are separate processes.
BACKENDS = ("python", "onnxruntime")
_BACKEND = Path(__file__).with_name("onnxruntime_backend")
#: The modules that the backend shares with the frontends.
_SHARED = (memory, outgoing)


def stage(installation: Installation, folder: Path) -> None:
    """Lays out the backends and caches as Triton expects them. The files are copies, because Triton refuses symbolic links."""
    (folder / "empty").mkdir()  # the server's Python first looks for modules in its current folder
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        shutil.copy(installation.python_backend / name, python / name)
    shutil.copy(installation.stub, python / installation.stub.name)
    (python / installation.stub.name).chmod(0o755)
    shutil.copytree(installation.caches, folder / "caches")
    shutil.copytree(_BACKEND, folder / "backends" / "onnxruntime", ignore=shutil.ignore_patterns("__pycache__"))
    for module in _SHARED:
        shutil.copy(inspect.getfile(module), folder / "backends" / "onnxruntime")
