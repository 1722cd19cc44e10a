"""`hf2triton bench` beside perf_analyzer: same served model, texts and load, interleaved: `make bench-perf-analyzer`.

NVIDIA's perf_analyzer comes in the manylinux1 wheel of `tritonclient` 2.51.0, which pip downloads once into a cache folder;
the libraries it wants are in the wheel of the embedded Triton, under longer names. Prints medians of the rounds, and the median
of what ours is, relative to its. In the open loop perf_analyzer sends fewer calls than asked
for, so that there the loads differ. `--rounds`, `--seconds`, `--precision` and `--source` (by default all-MiniLM-L6-v2) change
what is measured.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hf2triton.bench.contenders import CONTENDERS
from hf2triton.bench.inputs import batches_of
from hf2triton.bench.plan import BenchOptions, frontends_named, groups_of
from hf2triton.bench.run import run_child
from hf2triton.cli.bench_tables import in_words
from hf2triton.serving import Server
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.loadgen.load import Sample
from hf2triton_client.loadgen.results import Load

CACHE = Path(tempfile.gettempdir()) / "hf2triton-perf-analyzer-2.51.0"
#: Library as perf_analyzer asks for it -> how its file begins in the wheel of the embedded Triton.
LIBRARIES = {"libb64.so.0d": "libb64-", "libcudart.so.12": "libcudart-"}
LOADS = (Load(1, None, 1), Load(1, None, 8), Load(8, None, 2), Load(1, None, None, 8.0))
#: What is compared: name -> whose of a Sample, and perf_analyzer's column with how many of its units make one of ours.
FIGURES = {
    "p50_ms": ("p50 latency", 1e3),
    "p90_ms": ("p90 latency", 1e3),
    "p99_ms": ("p99 latency", 1e3),
    "items_per_second": ("Inferences/Second", 1),
}


@dataclass(frozen=True)
class PerfAnalyzer:
    program: Path
    libraries: Path

    def measure(
        self, url: str, model: str, texts: Path, load: Load, seconds: float, warm_up: float
    ) -> dict[str, float]:
        """One measurement, without its search for a stable one. Raises CalledProcessError."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.csv"
            if load.rate is None:
                how = ["--concurrency-range", str(load.concurrency)]
            else:
                how = ["--request-rate-range", f"{load.rate:g}", "--request-distribution", "poisson"]
            command = [str(self.program), "-m", model, "-u", url, "-i", "grpc", "-b", str(load.batch_size), *how]
            command += ["--input-data", str(texts), "--measurement-interval", str(int(seconds * 1e3 / 3))]
            # any three windows are stable enough: together they are as long as ours; other trials are not made
            command += ["--stability-percentage", "999", "--max-trials", "3"]
            command += ["--warmup-request-count", "64", "--percentile", "50", "-f", str(report)]
            environment = {**os.environ, "LD_LIBRARY_PATH": str(self.libraries)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"perf_analyzer failed: {done.stdout}{done.stderr}")
            [row] = csv.DictReader(report.open())
            return {name: float(row[column]) / unit for name, (column, unit) in FIGURES.items()}


def find_perf_analyzer() -> PerfAnalyzer:
    """The program in the cache folder, fetched and unpacked there first if need be."""
    program, libraries = CACHE / "perf_analyzer", CACHE / "lib"
    if not program.exists():
        CACHE.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        command += ["--platform", "manylinux1_x86_64", "--dest", str(CACHE), "tritonclient==2.51.0"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        [wheel] = CACHE.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            program.write_bytes(archive.read("tritonclient-2.51.0.data/data/bin/perf_analyzer"))
        program.chmod(0o755)
    libraries.mkdir(exist_ok=True)
    site = Path(importlib.util.find_spec("pytriton").submodule_search_locations[0]).parent
    for wanted, beginning in LIBRARIES.items():
        [found] = (site / "nvidia_pytriton.libs").glob(f"{beginning}*")
        link = libraries / wanted
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    return PerfAnalyzer(program, libraries)


def export(source: str, precision: str, repository: Path) -> None:
    command = [sys.executable, "-m", "hf2triton", "export", source, "--name", "model", "--precision", precision]
    subprocess.run([*command, "--repository", str(repository)], check=True, capture_output=True)


def compare(options: argparse.Namespace) -> None:
    from hf2triton.demo.examples import weights

    perf_analyzer = find_perf_analyzer()
    ours: dict[Load, list[Sample]] = {load: [] for load in LOADS}
    theirs: dict[Load, list[dict[str, float]]] = {load: [] for load in LOADS}
    with tempfile.TemporaryDirectory() as folder:
        repository, texts = Path(folder) / "model_repository", Path(folder) / "texts.json"
        export(options.source or str(weights()), options.precision, repository)
        inputs = Baseline.load(repository / "model" / "baseline.safetensors").inputs
        data = [dict(batch) for batch in batches_of(inputs, 1)]
        texts.write_text(json.dumps({"data": data}), encoding="utf-8")
        with Server(repository) as server:
            asked = BenchOptions(
                ("model",), server.url, repository, seconds=options.seconds, contenders=("grpc",), rounds=1
            )
            [group] = groups_of(asked, frontends_named(asked, asked.names))
            [job] = group.jobs
            assert CONTENDERS[job.contender].key == "grpc"
            for turn in range(options.rounds):
                for load in LOADS:
                    arguments = (server.url, "model", texts, load, options.seconds, asked.warm_up)
                    theirs[load].append(perf_analyzer.measure(*arguments))
                    found = run_child(type(job).from_json({**job.to_json(), "loads": [vars(load)], "round": turn}))
                    ours[load].append(found.samples[0])
    show(options, ours, theirs)


def show(options: argparse.Namespace, ours: dict, theirs: dict) -> None:
    print(
        f"{options.precision}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds of {options.seconds:g} s"
    )
    print(f"{'load':34}{'':20}{'bench':>9}{'perf_analyzer':>15}{'ratio':>8}")
    for load in LOADS:
        for name in FIGURES:
            own = [getattr(sample, name) for sample in ours[load]]
            other = [found[name] for found in theirs[load]]
            ratio = statistics.median(one / two for one, two in zip(own, other, strict=True))
            line = f"{in_words(load):34}{name:20}{statistics.median(own):>9.2f}{statistics.median(other):>15.2f}"
            print(f"{line}{ratio:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--source", default="")
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
