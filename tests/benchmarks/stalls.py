"""How many requests wait for half a second on a busy machine, by what bounds Triton's queue: `make bench-stalls`.

A small model is served with each of the batchers below, while other processes keep all cores busy; one caller and four callers
ask for one text at a time. Prints the requests that took more than 0.4 s, the median, the 99th percentile and the throughput.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client import connect
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.transport.served_model import ServedModel

from ..support import ASSETS

#: What is compared: name -> the batcher's settings in config.pbtxt, None for no batcher.
BATCHERS = {
    "dynamic, as exported": "",
    "dynamic, max_queue_size 4096": "default_queue_policy { max_queue_size: 4096 }",
    "none": None,
}
#: Callers -> requests of each.
LOADS = {1: 1200, 4: 400}


def busy() -> None:
    while True:
        sum(range(100_000))


def measure(url: str, baseline: Baseline) -> list[tuple[int, np.ndarray, float]]:
    """Callers, seconds of each request, and requests a second."""
    found = []
    with connect(url) as connection:
        model = ServedModel.from_config(connection.model_config("sentiment"))
        requests = list(model.requests(baseline.inputs, ["logits"], 1))

        def work(count: int, taken: list[float]) -> None:
            for index in range(count):
                began = time.perf_counter()
                connection.infer(requests[index % len(requests)])
                taken.append(time.perf_counter() - began)

        for callers, count in LOADS.items():
            taken: list[float] = []
            threads = [threading.Thread(target=work, args=(count, taken)) for _ in range(callers)]
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            found.append((callers, np.array(taken), len(taken) / (time.perf_counter() - began)))
    return found


def main() -> None:
    from hf2triton.core.options import ExportOptions
    from hf2triton.export.pipeline import export
    from hf2triton.serving import Server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(len(os.sched_getaffinity(0)) + 1)]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        export(ExportOptions(str(ASSETS / "bert-sentiment"), "sentiment", repository=repository))
        path = repository / "sentiment" / "config.pbtxt"
        baseline = Baseline.load(repository / "sentiment" / "1" / "baseline.safetensors")
        exported = text_format.Parse(path.read_text(encoding="utf-8"), pb.ModelConfig())
        for process in others:
            process.start()
        print(f"{'batcher':32}{'callers':>8}{'requests':>10}{'stalled':>9}{'p50 ms':>9}{'p99 ms':>9}{'requests/s':>12}")
        for _ in range(rounds):
            for name, settings in BATCHERS.items():
                config = pb.ModelConfig()
                config.CopyFrom(exported)
                config.ClearField("dynamic_batching")
                if settings is not None:
                    config.dynamic_batching.CopyFrom(text_format.Parse(settings, pb.ModelDynamicBatching()))
                path.write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")
                with Server(repository) as server:
                    for callers, taken, rate in measure(server.url, baseline):
                        median, high = np.percentile(taken, [50, 99]) * 1e3
                        stalled = int((taken > 0.4).sum())
                        print(
                            f"{name:32}{callers:>8}{len(taken):>10}{stalled:>9}{median:>9.1f}{high:>9.1f}{rate:>12.0f}"
                        )
    for process in others:
        process.kill()


if __name__ == "__main__":
    main()
