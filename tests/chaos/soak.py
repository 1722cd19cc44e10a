"""A steady load, and what it leaves behind: memory, threads, descriptors and shared memory of every process, at intervals.

    python -m tests.chaos.soak --seconds 600        # make soak

Exit code 1 where something has grown by more than --most per cent between the first minute after the warm-up and the last.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .memory import shared_memory, usage
from .running import Say, set_up, start_callers

#: Figures of a process, and of the shared memory of all.
FIGURES = ("memory", "threads", "descriptors")
#: Growth below this is no growth: a thread more, a page that Python's allocator keeps.
LEAST = {"memory": 3 << 20, "threads": 2, "descriptors": 3, "regions": 0, "bytes": 1 << 20}

#: When it was taken, and (process, figure) -> its value.
Sample = tuple[float, dict[tuple[str, str], float]]


def sample(stage: Any) -> Sample:
    """What every process takes now; this one is the client."""
    found: dict[tuple[str, str], float] = {}
    for name, pid in {**stage.served.identities(), "client": os.getpid()}.items():
        if (taken := usage(pid)) is not None:
            found |= {(name, figure): getattr(taken, figure) for figure in FIGURES}
    regions, size = shared_memory(stage.namespace.shared_memory)
    return time.monotonic(), found | {("/dev/shm", "regions"): regions, ("/dev/shm", "bytes"): size}


def growth(samples: Sequence[Sample], seconds: float = 60.0) -> Mapping[tuple[str, str], tuple[float, float]]:
    """The medians of the first and of the last `seconds`, or half of the time where there is less."""
    first, last = samples[0][0], samples[-1][0]
    span = min(seconds, (last - first) / 2)
    early = [values for at, values in samples if at <= first + span]
    late = [values for at, values in samples if at >= last - span]
    names = {name for values in early + late for name in values}
    return {
        name: (
            statistics.median([values.get(name, 0) for values in early]),
            statistics.median([values.get(name, 0) for values in late]),
        )
        for name in sorted(names)
    }


def grown(changes: Mapping[tuple[str, str], tuple[float, float]], most: float) -> list[str]:
    """What has grown by more than `most` per cent, and by more than chance."""
    found = []
    for (process, figure), (before, after) in changes.items():
        if after - before > LEAST[figure] and after > before * (1 + most / 100):
            found.append(f"{figure} of {process}: {_shown(figure, before)} to {_shown(figure, after)}")
    return found


def _shown(figure: str, value: float) -> str:
    return f"{value / (1 << 20):.1f} MiB" if figure in ("memory", "bytes") else f"{value:.0f}"


def _table(changes: Mapping[tuple[str, str], tuple[float, float]]) -> str:
    lines = [f"{'process':<18}{'figure':<14}{'at first':>12}{'at last':>12}{'change':>10}"]
    for (process, figure), (before, after) in changes.items():
        change = f"{100 * (after - before) / before:+.1f} %" if before else ""
        lines.append(f"{process:<18}{figure:<14}{_shown(figure, before):>12}{_shown(figure, after):>12}{change:>10}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long it is measured [600]")
    parser.add_argument("--warm-up", type=float, default=90, help="how long the load runs before [90]")
    parser.add_argument("--interval", type=float, default=5, help="seconds between two samples [5]")
    parser.add_argument("--most", type=float, default=2, help="what may grow, in per cent [2]")
    parser.add_argument("--repository", type=Path, help="serve a copy of this one")
    parser.add_argument("--tasks", default="", metavar="TASK,…", help="serve only these of it")
    parser.add_argument("--cache", type=Path, help="where the exported models are kept for the next run")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hf2triton-soak-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    try:
        return _soak(arguments, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _soak(arguments: argparse.Namespace, folder: Path, say: Say) -> int:
    samples: list[Sample] = []
    with set_up(arguments, folder, say) as stage:
        start_callers(stage)
        say(f"warming up for {arguments.warm_up:.0f} s")
        time.sleep(arguments.warm_up)
        until, shown = time.monotonic() + arguments.seconds, 0.0
        while time.monotonic() < until:
            gc.collect()
            samples.append(sample(stage))
            stage.recorder.look()
            if time.monotonic() - shown >= 60:
                shown = time.monotonic()
                values = samples[-1][1]
                memory = {process: value for (process, figure), value in values.items() if figure == "memory"}
                sent = stage.recorder.sent
                say(
                    f"{sent} calls; MiB: {', '.join(f'{name} {size / (1 << 20):.0f}' for name, size in memory.items())}"
                )
            time.sleep(arguments.interval)
        stage.crew.stop(25.0)
        changes = growth(samples)
        print(_table(changes))
        print(stage.recorder.table())
        problems = grown(changes, arguments.most)
        if stage.recorder.bad:
            problems.append(f"{stage.recorder.bad} calls were not answered as they should be")
        print(*(["", "not flat:", *problems] if problems else [f"flat within {arguments.most:g} %"]), sep="\n")
        return 1 if problems else 0


if __name__ == "__main__":
    result = main()
    sys.stdout.flush()
    os._exit(result)  # a caller that hangs must not keep the process
