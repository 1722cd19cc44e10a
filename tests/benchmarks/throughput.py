"""Throughput on real texts of mixed length, each contender in a process of its own, interleaved: `make bench`.

    in process            onnxruntime (its defaults) and the tokenizer, one text at a time, no server
    pipeline, one list    the client's pipeline over gRPC, called once with all texts, N requests of 8 texts in flight
    pipeline, one text    the client's pipeline, called with one text at a time from N threads
    bls, one text         the same, with the graph in a model of its own (runner bls)
    ensemble, one length  a tokenizer → graph ensemble, one text a call; a batch's texts are padded to one length
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
#: contender -> the model it calls
SERVED = {
    "pipeline, one list": "front",
    "pipeline, one text": "front",
    "bls, one text": "bls",
    "ensemble, one length": "ensemble-one-length",
    "ensemble, own length": "ensemble-own-length",
}


def measure_in_process(repository: Path, texts: list[str]) -> dict:
    from hf2triton.parity.local_runner import LocalModel

    model = LocalModel(repository / "front" / "1")
    milliseconds = [_timed(model, {"text": text}) for text in [*texts[:20], *texts]][20:]
    return {"texts_per_second": 1e3 * len(texts) / sum(milliseconds), "milliseconds": milliseconds}


def measure_pipeline(url: str, name: str, texts: list[str], concurrency: int, one_list: bool) -> dict:
    from hf2triton_client import connect, pipeline

    with connect(url, max_in_flight=concurrency) as connection:
        served = pipeline("sentence-similarity", model=name, connection=connection)
        if not one_list:
            return _measure(served.encode, texts, concurrency)
        served.encode(texts[:200], batch_size=8)
        began = time.perf_counter()
        served.encode(texts, batch_size=8)
        return {"texts_per_second": len(texts) / (time.perf_counter() - began)}


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


def _timed(call, text) -> float:
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
    model = SERVED[options.contender]
    if options.contender.startswith("ensemble"):
        return measure_ensemble(options.url, model, texts, options.concurrency)
    one_list = options.contender.endswith("list")
    return measure_pipeline(options.url, model, texts, options.concurrency, one_list)


def _export(repository: Path, precision: str) -> None:
    from hf2triton.demo.examples import weights

    for name, runner in (("front", "inprocess"), ("bls", "bls")):
        command = ["export", str(weights()), "--name", name, "--runner", runner, "--precision", precision]
        command += ["--repository", str(repository)]
        subprocess.run(
            [sys.executable, "-m", "hf2triton", *command],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
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
                one_client = _child("pipeline, one text", repository, options.texts, 1, server.url)
                speeds.setdefault(("pipeline, one text", 1), []).append(one_client["texts_per_second"])
                gaps = np.subtract(one_client["milliseconds"], alone["milliseconds"])
                added.append(float(np.median(gaps)))
                for concurrency in CONCURRENCIES:
                    for contender in SERVED:
                        result = _child(contender, repository, options.texts, concurrency, server.url)
                        speeds.setdefault((contender, concurrency), []).append(result["texts_per_second"])
    medians = {key: statistics.median(values) for key, values in speeds.items()}
    print(f"{options.texts} texts, {options.precision}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds")
    print(f"{'contender':24}{'concurrency':>12}{'texts/s':>10}{'of in process':>15}")
    for (contender, concurrency), speed in sorted(medians.items(), key=lambda item: (item[0][1], -item[1])):
        print(f"{contender:24}{concurrency:>12}{speed:>10.0f}{speed / medians['in process', 1]:>15.2f}")
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
