"""The command: sets everything up, injects one fault after the other, and says what was seen."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from . import running
from .faults import all_faults
from .recorder import BAD, VERDICTS


def main() -> int:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="hf2triton-chaos-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    say(f"seed {arguments.seed}")
    code = 1
    try:
        recorder = running.run(arguments, folder, say)
        print(recorder.table())
        for verdict in (*BAD, *(["refused"] if arguments.refused else [])):
            for key, cases in recorder.cases.items():
                if key.startswith(f"{verdict} "):
                    print(f"\n{key}:", *cases, sep="\n  - ")
        code = 1 if recorder.bad else 0
        print(f"\n{recorder.sent} requests sent, {recorder.bad} not as promised ({', '.join(VERDICTS[2:])})")
        if recorder.crashes:
            print(
                f"tritonserver crashed {recorder.crashes} times, as its release may (see docs/explanation/promises.md)"
            )
        if code:
            print(
                f"the same again: python -m tests.chaos --seed {arguments.seed} --seconds {arguments.seconds}", end=""
            )
            print(f" --only {arguments.only}" if arguments.only else "")
    finally:
        if code and arguments.keep:
            say(f"what the servers wrote: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long faults are injected [600]")
    parser.add_argument("--seed", type=int, default=None, help="the same order and choices [a new one]")
    parser.add_argument("--only", default="", metavar="FAULT,…", help=f"of {', '.join(sorted(all_faults()))}")
    parser.add_argument("--without", default="", metavar="FAULT,…", help="all but these")
    parser.add_argument("--once", action="store_true", help="each fault once, then the end")
    parser.add_argument("--repository", type=Path, help="serve a copy of this one; there are then no second versions")
    parser.add_argument("--tasks", default="", metavar="TASK,…", help="serve only these of it")
    parser.add_argument("--cache", type=Path, help="where the exported models are kept for the next run")
    parser.add_argument(
        "--quiet", type=float, default=5.0, help="seconds between two faults, in which all must be well [5]"
    )
    parser.add_argument(
        "--refused", action="store_true", help="show some of the calls that were refused, as is allowed"
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that failed")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.randrange(10_000)
    if unknown := {name for name in f"{arguments.only},{arguments.without}".split(",") if name} - set(all_faults()):
        parser.error(f"unknown faults {', '.join(sorted(unknown))}; known are {', '.join(sorted(all_faults()))}")
    return arguments


if __name__ == "__main__":
    result = main()
    sys.stdout.flush()
    os._exit(result)  # a caller that hangs must not keep the process
