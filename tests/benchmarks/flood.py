"""What becomes of far more requests than a model answers, with admission and without: `make bench-flood`.

A small model that reads long texts is served twice: as exported, where its frontend refuses what cannot be answered in time, and
with `max_wait_seconds` 0, where everything waits. It is asked a thousand times a second, and 20,000 times at once, by callers who
wait for `--timeout` seconds and ask once. Prints how many were answered, refused and not answered in time, how long the refused
had waited (median and 99th percentile), how many requests the model computed and how many of these for nobody, and after how
long all had ended.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client import connect

from ..support import ASSETS
from .flooding import Flood, pace, percentile, run

MODEL = "sentiment"
#: Nearly as many tokens as the model takes: it is to be the model that is slow, and not the callers.
TEXT = "a film as long as this " * 20
WITHOUT = "max_wait_seconds"


def ended(url: str) -> int:
    """Requests that the model has answered, computed or refused: Triton counts both."""
    with connect(url) as connection:
        return connection.compute_time(MODEL)[0]


def without_admission(repository: Path, other: Path) -> Path:
    """A copy where whatever comes waits."""
    shutil.copytree(repository, other)
    path = other / MODEL / "config.pbtxt"
    config = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
    config.parameters[WITHOUT].string_value = "0"
    path.write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")
    return other


def main() -> None:
    from hf2triton.core.options import ExportOptions
    from hf2triton.export.pipeline import export
    from hf2triton.serving import Server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=12.0, help="seconds that each caller waits [12]")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="for how long a thousand requests a second come [10]"
    )
    parser.add_argument("--at-once", type=int, default=20_000, help="requests that come at once [20000]")
    asked = parser.parse_args()
    loads = {"1,000 a second": (int(1000 * asked.seconds), 1000.0), f"{asked.at_once:,} at once": (asked.at_once, 0.0)}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "with" / "model_repository"
        export(ExportOptions(str(ASSETS / "bert-sentiment"), MODEL, repository=repository, precision="fp32"))
        served = {"with": repository, "without": without_admission(repository, Path(folder) / "without")}
        print(
            f"{'admission':10}{'load':>16}{'pace/s':>8}{'answered':>10}{'refused':>9}{'expired':>9}{'others':>8}"
            f"{'p50 s':>7}{'p99 s':>7}{'computed':>10}{'in vain':>9}{'all s':>7}"
        )
        for name, entry in served.items():
            for load, (count, rate) in loads.items():
                with Server(entry) as server:
                    own = pace(server.url, MODEL, TEXT, 3.0)
                    before = ended(server.url)
                    ends = run(Flood(server.url, MODEL, TEXT, count, rate, asked.timeout))
                    done = ended(server.url) - before - 1 - len(ends.refused)
                print(
                    f"{name:10}{load:>16}{own:>8.0f}{len(ends.answered):>10,}{len(ends.refused):>9,}{len(ends.expired):>9,}"
                    f"{ends.others.total():>8,}{percentile(ends.refused, 50):>7.1f}{percentile(ends.refused, 99):>7.1f}"
                    f"{done:>10,}{done - len(ends.answered):>9,}{ends.seconds:>7.1f}",
                    flush=True,
                )
                for error, times in ends.others.most_common(3):
                    print(f"    {times:,} x {error}")


if __name__ == "__main__":
    main()
