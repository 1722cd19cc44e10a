"""What machine this is, for reports."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from .results import Machine

#: Packages whose versions matter to what is measured.
PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tokenizers", "torch", "transformers", "tritonclient")


def describe_machine() -> Machine:
    """This machine, as far as the system tells."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        python=".".join(map(str, sys.version_info[:3])),
        packages={name: version for name in PACKAGES if (version := _version(name))},
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
