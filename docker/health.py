"""Whether the server in this container is well: `health.py live` or `health.py ready`; exit code 0 if so.

Triton goes on to call a model ready whose process has died. supervise.py brings such a model back, which takes seconds, and notes
since when it is away: after a minute the container has to be replaced. A server that supervise.py is starting again is live.
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
#: How long a model may be away, and all of them while their server is started again.
AWAY_SECONDS, START_SECONDS = 60.0, 600.0


def noted(supervisor: int | str) -> Path:
    """Where a supervisor, by its process, notes since when models are away, by the clock of time.monotonic."""
    return Path(tempfile.gettempdir(), f"hf2triton-away-{supervisor}.json")


def away() -> dict[str, float]:
    """Model -> seconds for which it has been away."""
    with suppress(OSError, ValueError):  # nothing was noted, or it is being written
        since = json.loads(noted(ABOVE).read_text(encoding="utf-8"))
        return {model: time.monotonic() - start for model, start in since.items()}
    return {}


def main() -> None:
    what = " ".join(sys.argv[1:])
    if what not in ("live", "ready"):
        sys.exit("usage: health.py live|ready")
    models = away()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v2/health/{what}", headers={"Connection": "close"})
    try:
        urllib.request.urlopen(request, timeout=4).close()
    except OSError as error:
        if what == "live" and models and max(models.values()) < START_SECONDS:
            return
        sys.exit(f"the server is not {what}: {error}")
    if late := [model for model, seconds in models.items() if seconds > AWAY_SECONDS]:
        sys.exit(f"models whose process has died have been away for more than {AWAY_SECONDS:.0f} s: {', '.join(late)}")


if __name__ == "__main__":
    main()
