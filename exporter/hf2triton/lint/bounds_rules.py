"""Bounds: callers' inputs are limited in bytes, pixels, tokens and items, and clients know the limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.frontend_settings import DecoderSettings
from ..core.layout import FRONT
from .finding import ERROR, Problem, Rule
from .models import Lint, Model

#: What a frontend reads -> the limits that it must have.
_LIMITS = {"text": ("max_bytes", "max_length"), "image": ("max_bytes", "max_pixels")}


def _limits(model: Model, version: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The limits that a frontend must have, and the limits that its code reads."""
    settings, limits = model.frontend(version), {}
    if isinstance(settings, DecoderSettings):
        limits = {"max_bytes": settings.max_bytes, "max_length": settings.context}
    elif settings is not None:
        limits = dict(settings.reader)
    return _LIMITS["image" if "image" in (model.settings or {}).get("inputs", ()) else "text"], limits


def undeclared(lint: Lint, model: Model) -> Iterator[Problem]:
    for version in model.loaded if model.settings is not None else ():
        needed, limits = _limits(model, version)
        for name in needed:
            read, told = limits.get(name), (model.settings or {}).get(name)
            where = f"{model.name}/{version}/{FRONT}"
            if not _is_limit(read):
                yield Problem(where, f"the frontend has no {name}: nothing limits what callers send. Export it again")
            elif told is not None and told != read:
                yield Problem(
                    lint.line(model, "hf2triton"),
                    f"clients are told a {name} of {told}, and the frontend takes {read}: export it again",
                )


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def unbounded_items(lint: Lint, model: Model) -> Iterator[Problem]:
    """A model without a batch dimension may have inputs with free dimensions, whose size nothing limits."""
    if model.settings is None or model.config.max_batch_size > 0:
        return
    for tensor in model.config.input:
        if any(dim < 1 for dim in tensor.dims):
            yield Problem(
                lint.line(model, tensor.name),
                f"max_batch_size is 0 and the input {tensor.name!r} has free dimensions {list(tensor.dims)}: nothing limits how"
                " many items callers send at once. Set max_batch_size, or fixed dims",
            )


RULES = (
    Rule(
        "bounds-limits",
        ERROR,
        "model",
        "a frontend without a limit of bytes, pixels or tokens, or with another than is told",
        undeclared,
    ),
    Rule("bounds-items", ERROR, "model", "a frontend that takes any number of items at once", unbounded_items),
)
