"""Identifies a frontend's settings by a number. Callers need the settings to read its answers; the number tells whether theirs
are right.

The version number is not enough: each repository numbers its versions itself, and an entry that is removed and exported again
starts at 1 again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: The output that holds it, int64 `[1]`.
OUTPUT = "fingerprint"
#: The parameter of config.pbtxt with the settings of callers.
_PARAMETER = "hf2triton"


def fingerprint(model_config: str) -> int | None:
    """The first 63 bits of the SHA-256 of the settings' text. None if the config has no settings or no such output.
    `model_config`: the JSON that Triton passes to `initialize`."""
    config: dict[str, Any] = json.loads(model_config)
    settings = config.get("parameters", {}).get(_PARAMETER, {}).get("string_value")
    if settings is None or all(output.get("name") != OUTPUT for output in config.get("output", ())):
        return None
    return int.from_bytes(hashlib.sha256(settings.encode()).digest()[:8], "big") >> 1
