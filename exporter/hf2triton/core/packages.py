"""The packages whose versions can change what is exported or served."""

from __future__ import annotations

from importlib import metadata

from .. import __version__

PACKAGES = (
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "optimum",
    "peft",
    "pillow",
    "tokenizers",
    "torch",
    "transformers",
)


def installed_versions() -> dict[str, str | None]:
    """Package -> its version; None for one that is not installed."""
    return {"hf2triton": __version__, **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
