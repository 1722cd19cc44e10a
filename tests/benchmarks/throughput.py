"""Throughput on real texts of mixed length, each contender in a process of its own, interleaved: `make bench`.

    in process            onnxruntime and the tokenizer, one text at a time, no server
    front                 the client's pipeline over gRPC, one text a call, from N threads
    ensemble, one length  a tokenizer → graph ensemble that pads a batch's texts to one length, so that they merge
    ensemble, own length  the same without padding, so that only texts of equal length merge

Prints medians of the rounds, and what a call adds at one client. `--rounds`, `--texts` and `--precision` change the size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from .ensemble import write_ensemble
from .texts import mixed_texts

CONCURRENCIES = (8, 32)
SERVED = ("front", "bls", "ensemble, one length", "ensemble, own length")


def measure_in_process(repository: Path, texts: list[str]) -> dict:
    from hf2triton.in_process import InProcessModel

    model = InProcessModel(repository / "front" / "1")
    milliseconds = [_timed(model, text) for text in [*texts[:20], *texts]][20:]
    return {"texts_per_second": 1e3 * len(texts) / sum(milliseconds), "milliseconds": milliseconds}


def measure_front(url: str, name: str, texts: list[str], concurrency: int) -> dict:
    from hf2triton_client import pipeline

    with pipeline("sentence-similarity", model=name, url=url) as served:
        return _measure(served.encode, texts, concurrency)


def measure_ensemble(url: str, name: str, texts: list[str], concurrency: int) -> dict:
    client = triton.InferenceServerClient(url)
    outputs = [triton.InferRequestedOutput("embedding")]

    def encode(text: str) -> np.ndarray:
        tensor = triton.InferInput("text", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=np.object_))
        return client.infer(name, [tensor], outputs=outputs).as_numpy("embedding")

    return _measure(encode, texts, concurrency)


def _measure(call, texts: list[str], concurrency: int) -> dict:
    """Calls with each text once, from `concurrency` threads."""
    for text in texts[:20]:
        call(text)
    next_index, milliseconds = count(), [0.0] * len(texts)

    def work() -> None:
        while (index := next(next_index)) < len(texts):
            milliseconds[index] = _timed(call, texts[index])

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"texts_per_second": len(texts) / (time.perf_counter() - began), "milliseconds": milliseconds}


def _timed(call, text: str) -> float:
    began = time.perf_counter()
    call(text)
    return (time.perf_counter() - began) * 1e3


def _child(contender: str, repository: Path, texts: int, concurrency: int, url: str = "") -> dict:
    arguments = ["--contender", contender, "--repository", str(repository), "--texts", str(texts)]
    arguments += ["--concurrency", str(concurrency), "--url", url]
    command = [sys.executable, "-m", "tests.benchmarks.throughput", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _run_child(options: argparse.Namespace) -> dict:
    texts = mixed_texts(options.texts)
    if options.contender == "in process":
        return measure_in_process(options.repository, texts)
    measure = measure_ensemble if options.contender.startswith("ensemble") else measure_front
    return measure(options.url, _model(options.contender), texts, options.concurrency)


def _model(contender: str) -> str:
    return contender.replace(", ", "-").replace(" ", "-")


def _export(repository: Path, precision: str) -> None:
    from hf2triton.demo import weights

    for name, runner in (("front", "inprocess"), ("bls", "bls")):
        command = ["export", str(weights()), "--name", name, "--runner", runner, "--precision", precision]
        command += ["--repository", str(repository)]
        subprocess.run([sys.executable, "-m", "hf2triton", *command], check=True, stderr=subprocess.DEVNULL)
    write_ensemble(repository, "ensemble-one-length", "bls", common_length=True)
    write_ensemble(repository, "ensemble-own-length", "bls", common_length=False)


def compare(options: argparse.Namespace) -> None:
    from hf2triton.serving import Server

    mixed_texts()
    speeds: dict[tuple[str, int], list[float]] = {}
    added: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        _export(repository, options.precision)
        for _ in range(options.rounds):
            alone = _child("in process", repository, options.texts, 1)
            speeds.setdefault(("in process", 1), []).append(alone["texts_per_second"])
            with Server(repository) as server:
                one_client = _child("front", repository, options.texts, 1, server.url)
                speeds.setdefault(("front", 1), []).append(one_client["texts_per_second"])
                gaps = np.subtract(one_client["milliseconds"], alone["milliseconds"])
                added.append(float(np.median(gaps)))
                for concurrency in CONCURRENCIES:
                    for contender in SERVED:
                        result = _child(contender, repository, options.texts, concurrency, server.url)
                        speeds.setdefault((contender, concurrency), []).append(result["texts_per_second"])
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    print(f"{options.texts} texts, {options.precision}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds")
    print(f"{'contender':24}{'clients':>8}{'texts/s':>10}{'of front':>10}{'of in process':>15}")
    for (contender, concurrency), speed in sorted(medians.items(), key=lambda item: (item[0][1], -item[1])):
        of_front = speed / medians["front", concurrency]
        of_alone = speed / medians["in process", 1]
        print(f"{contender:24}{concurrency:>8}{speed:>10.0f}{of_front:>10.2f}{of_alone:>15.2f}")
    print(f"at one client the pipeline adds {statistics.median(added):.2f} ms to a call (median over the texts)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--precision", default="fp16")
    for internal in ("--contender", "--url"):
        parser.add_argument(internal, default="", help=argparse.SUPPRESS)
    parser.add_argument("--repository", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(_run_child(options)))
    else:
        compare(options)


if __name__ == "__main__":
    main()
