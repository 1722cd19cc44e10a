"""Which settings a frontend has: callers read its answers with those, and tell by a number whether they know them.

The number of a version is not enough. Repositories number their versions on their own, and an entry that was removed and exported
again begins at 1 as well.
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
    """The first 63 bits of the SHA-256 of the settings' text; None where the config has no settings, or no such output.
    `model_config`: the JSON that Triton hands over at the start."""
    config: dict[str, Any] = json.loads(model_config)
    settings = config.get("parameters", {}).get(_PARAMETER, {}).get("string_value")
    if settings is None or all(output.get("name") != OUTPUT for output in config.get("output", ())):
        return None
    return int.from_bytes(hashlib.sha256(settings.encode()).digest()[:8], "big") >> 1
