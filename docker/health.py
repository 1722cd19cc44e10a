"""Whether the server in this container is well: `health.py live` or `health.py ready`; exit code 0 if so.

Triton goes on to call a model ready whose process has died. supervise.py brings such a model back, which takes seconds, and notes
since when it is away: after a minute the container has to be replaced.
"""

import json
import os
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

PORT = os.environ.get("HF2TRITON_HTTP_PORT", "8000")
#: The process above tritonserver's; in a container the first.
ABOVE = os.environ.get("HF2TRITON_SERVER_PID", "1")
AWAY_SECONDS = 60.0


def noted(supervisor: int | str) -> Path:
    """Where a supervisor, by its process, notes since when models are away, by the clock of time.monotonic."""
    return Path(tempfile.gettempdir(), f"hf2triton-away-{supervisor}.json")


def away() -> list[str]:
    """The models that have been away for too long."""
    with suppress(OSError, ValueError):  # nothing was noted, or it is being written
        since = json.loads(noted(ABOVE).read_text(encoding="utf-8"))
        return [model for model, start in since.items() if time.monotonic() - start > AWAY_SECONDS]
    return []


def main() -> None:
    what = " ".join(sys.argv[1:])
    if what not in ("live", "ready"):
        sys.exit("usage: health.py live|ready")
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v2/health/{what}", headers={"Connection": "close"})
    try:
        urllib.request.urlopen(request, timeout=4).close()
    except OSError as error:
        sys.exit(f"the server is not {what}: {error}")
    if models := away():
        sys.exit(
            f"models whose process has died have been away for more than {AWAY_SECONDS:.0f} s: {', '.join(models)}"
        )


if __name__ == "__main__":
    main()
