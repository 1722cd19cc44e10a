"""One query with 100 documents: `make bench-reranking`.

Prints the CPU time of tokenizing the pairs as a tokenizer does and as the frontend does, which reads each text once, and the time
of a call through the server.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hf2triton.core.options import ExportOptions
from hf2triton.demo.examples import weights
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton.triton_models.text import TextEncoder
from hf2triton_client import pipeline

from ..support import ASSETS, sample_of
from .texts import mixed_texts

QUERY = "how do I get my money back for a film that I did not like"
DOCUMENTS, LIMIT = 100, 512


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reranking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    texts = mixed_texts(2 * DOCUMENTS)
    for about, documents in (
        ("sentences", texts[:DOCUMENTS]),
        ("passages", [" ".join(texts[at : at + 5]) for at in range(DOCUMENTS)]),
    ):
        _tokenizing(about, documents, rounds)
    _served(rounds)


def _tokenizing(about: str, documents: list[str], rounds: int) -> None:
    pairs = [(QUERY, document) for document in documents]
    tokenizer = Tokenizer.from_file(str(weights() / "tokenizer.json"))
    encoder = TextEncoder(tokenizer, LIMIT, 0, ["input_ids"])
    repeated, once = (
        _cpu(call, rounds) for call in (lambda: tokenizer.encode_batch_fast(pairs), lambda: encoder.encode(pairs))
    )
    tokens = statistics.mean(len(row) for row in encoder.encode(pairs) if not isinstance(row, ValueError))
    print(f"{about}, {tokens:.0f} tokens with the query: pairs {repeated:.1f} ms of CPU, each text once {once:.1f} ms")


def _served(rounds: int) -> None:
    source = ASSETS / "bert-rerank"
    documents = [document for row in sample_of(source) for document in row["documents"]][:DOCUMENTS]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        export(ExportOptions(str(source), "passages", repository=repository))
        with Server(repository) as server, pipeline("rerank", model="passages", url=server.url) as ranked:
            for size in (8, 32, 64):
                calls = []
                for _ in range(rounds):
                    began = time.perf_counter()
                    ranked("Wine: kept in jars", documents, batch_size=size)
                    calls.append(1e3 * (time.perf_counter() - began))
                print(f"a call with {DOCUMENTS} documents, {size} a request: median {statistics.median(calls):.1f} ms")


def _cpu(call: Callable[[], Any], rounds: int) -> float:
    """The median CPU time of a call, in ms."""
    found = []
    for _ in range(rounds + 1):
        began = time.process_time()
        call()
        found.append(1e3 * (time.process_time() - began))
    return statistics.median(found[1:])


if __name__ == "__main__":
    main()
