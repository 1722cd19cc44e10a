"""Whether the server in this container is well: `health.py live` or `health.py ready`; exit code 0 if so.

Triton does not start a Python model's process again when it has died, and goes on to call the model ready while each of its
requests fails. The dead process stays a child of tritonserver that nobody has waited for: the container has to be replaced.
A model that is being unloaded looks the same for a moment, so one failure alone means nothing.
"""

import os
import sys
import urllib.request
from pathlib import Path

STUB = "triton_python_backend_stub"[:15]  # the kernel keeps 15 characters of a name
PORT = os.environ.get("HF2TRITON_HTTP_PORT", "8000")
#: The process above tritonserver's; in a container the first.
ABOVE = os.environ.get("HF2TRITON_SERVER_PID", "1")


def dead_models() -> list[str]:
    """The ids of dead processes of Python models."""
    processes = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        processes[path.parent.name] = (name, *text[text.rindex(")") + 2 :].split()[:2])
    servers = {process for process, (_, _, parent) in processes.items() if parent == ABOVE}
    return [
        process
        for process, (name, state, parent) in processes.items()
        if name == STUB and state == "Z" and parent in servers
    ]


def main() -> None:
    what = " ".join(sys.argv[1:])
    if what not in ("live", "ready"):
        sys.exit("usage: health.py live|ready")
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/v2/health/{what}", headers={"Connection": "close"})
    try:
        urllib.request.urlopen(request, timeout=4).close()
    except OSError as error:
        sys.exit(f"the server is not {what}: {error}")
    if dead := dead_models():
        sys.exit(f"the processes of {len(dead)} Python models have died: {', '.join(dead)}")


main()
