"""Calls a server whose shared memory is too small for some of what it is sent: small images beside large ones.

`python -m tests.end_to_end.crowded REPOSITORY ENTRY` prints as JSON how many small and large requests were answered, answered
wrongly and failed. Run in a mount namespace with a small /dev/shm.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

from hf2triton.serving import Server
from hf2triton_client import ClientError, pipeline

from ..exporter.triton_models.pictures import encoded, noise

#: Seconds, and callers of each kind.
SECONDS, SMALL, LARGE = 3.0, 16, 3


def main(repository: str, entry: str, side: str) -> None:
    images = {"small": encoded(noise(28, 28)), "large": encoded(noise(int(side), int(side)))}
    counts: Counter[str] = Counter()
    with (
        Server(repository) as server,
        pipeline("image-classification", model=entry, url=server.url, retries=0, timeout=60) as classify,
    ):
        expected = classify(images["small"])
        until = time.monotonic() + SECONDS

        def call(kind: str) -> None:
            while time.monotonic() < until:
                try:
                    answer = classify(images[kind])
                except ClientError:
                    counts[f"{kind} failed"] += 1
                else:
                    wrong = kind == "small" and answer != expected
                    counts[f"{kind} {'wrong' if wrong else 'answered'}"] += 1

        threads = [threading.Thread(target=call, args=(kind,)) for kind in ["small"] * SMALL + ["large"] * LARGE]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps({"large MiB": len(images["large"]) / 2**20, **counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
