"""The prompts that callers ask for: text to put before their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..errors import InputError
from ..transport.served_model import ServedModel


def requested_prompt(
    model: ServedModel, options: Mapping[str, Any], known: Collection[str]
) -> tuple[str | None, str | None]:
    """The options `prompt_name` and `prompt`, of which the second counts if both are given. `known`: the names of the model's
    prompts. Raises InputError for a prompt that the model does not have."""
    name, prompt = options.get("prompt_name"), options.get("prompt")
    for what, value in (("prompt_name", name), ("prompt", prompt)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"{what} should be a string, not {type(value).__name__}")
    if prompt is None and name is not None and name not in known:
        raise InputError(f"{model.name} has no prompt {name!r}; it has {', '.join(known) or 'none'}")
    return name, prompt
