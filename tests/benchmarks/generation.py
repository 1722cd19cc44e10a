"""Text generation with a model as large as GPT-2 small (124 M parameters, random weights), each contender in a process of
its own, interleaved: `make bench-generation`.

    PyTorch      transformers' `model.generate`, fp32, greedy
    engine       the engine that entries serve with, in process; 1 stream and 8
    Triton       the served entry through gRPC streams, 1 stream and 8
    step         one token of one text after 100 and after 900 others: the same, unless the cache is copied
    first token  after a prompt of 512 tokens: alone, and while seven others generate

Prints medians of the rounds. `--rounds`, `--tokens` and `--precisions` change the size.
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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

#: The positions of GPT-2, and how many streams there are at once.
CONTEXT, STREAMS = 1024, 8
LONG_PROMPT = 512
SHORT_PROMPT = 16


def make_checkpoint(folder: Path) -> None:
    """GPT-2 small with random weights, and a tokenizer as large as its own whose tokens for texts are their bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPT2Config()
    GPT2LMHeadModel(config).save_pretrained(folder)
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"\u0120w{index}" for index in range(config.vocab_size))]
    vocabulary = [*words[: config.vocab_size - 1], "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(folder)


def prompt(tokens: int, seed: int) -> str:
    letters = np.random.default_rng(seed).choice(list("abcdefghijklmnopqrstuvwxyz "), tokens)
    return "".join(letters)


def measure_pytorch(folder: Path, tokens: int) -> dict:
    import torch
    from transformers import AutoTokenizer, GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(prompt(SHORT_PROMPT, 0), return_tensors="pt")["input_ids"]

    def generate(new: int) -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
            )
        return time.perf_counter() - began

    generate(8)
    return {"tokens_per_second": tokens / generate(tokens)}


def measure_engine(version: Path, tokens: int) -> dict:
    """Tokens a second of one stream and of eight, the milliseconds between two tokens of one, and of a step after 100 and
    after 900 tokens."""
    from hf2triton.triton_models.generation.decoder import open_decoder
    from hf2triton.triton_models.generation.sampling import Sampler
    from hf2triton.triton_models.generation.scheduler import Scheduler
    from hf2triton.triton_models.generation.settings import Settings

    decoder = open_decoder(str(version / "model.onnx"), STREAMS, CONTEXT)
    decoder.warm_up(64)
    rng = np.random.default_rng(0)
    result = {}
    for streams in (1, STREAMS):
        scheduler, times = Scheduler(decoder, max_queue=0), []
        for _ in range(streams):
            ids = rng.integers(0, 256, SHORT_PROMPT)
            scheduler.submit(
                ids,
                Sampler(Settings(), ids),
                tokens,
                (),
                lambda token, times=times: times.append(time.perf_counter()),
                print_error,
            )
        began = time.perf_counter()
        while scheduler.step():
            pass
        result[f"{streams} streams"] = streams * tokens / (time.perf_counter() - began)
        if streams == 1:
            result["gap_ms"] = float(np.median(np.diff(times))) * 1e3
    for held in (100, 900):
        steps = []
        for _ in range(24):
            began = time.perf_counter()
            decoder.step([1], [held])
            steps.append((time.perf_counter() - began) * 1e3)
        result[f"step after {held} ms"] = statistics.median(steps[4:])
    return result


def print_error(finish: object) -> None:
    if getattr(finish, "error", None) is not None:
        print(finish, file=sys.stderr)


def measure_served(url: str, name: str, tokens: int) -> dict:
    """The same through Triton, and the seconds to the first token of a long prompt."""
    from hf2triton_client import pipeline

    settings = {"do_sample": False, "ignore_eos": True}
    with pipeline("text-generation", model=name, url=url, timeout=600) as generate:

        def times_of(text: str, new: int) -> list[float]:
            return [time.perf_counter() for _ in generate.stream(text, max_new_tokens=new, **settings)]

        times_of(prompt(SHORT_PROMPT, 0), 8)
        result = {}
        for streams in (1, STREAMS):
            began = time.perf_counter()
            all_times = list(_at_once(lambda seed: times_of(prompt(SHORT_PROMPT, seed), tokens), streams))
            result[f"{streams} streams"] = streams * tokens / (time.perf_counter() - began)
            if streams == 1:
                result["gap_ms"] = float(np.median(np.diff(all_times[0]))) * 1e3
        result["first token alone ms"] = _first_token(generate, settings)
        stop = threading.Event()
        with_others = [threading.Thread(target=_keep_busy, args=(generate, seed, stop, settings)) for seed in range(7)]
        for thread in with_others:
            thread.start()
        time.sleep(2)
        result["first token with seven others ms"] = _first_token(generate, settings)
        stop.set()
        for thread in with_others:
            thread.join()
        return result


def _first_token(generate, settings: dict) -> float:
    began = time.perf_counter()
    with generate.stream(prompt(LONG_PROMPT, 1), max_new_tokens=2, **settings) as pieces:
        next(pieces)
        return (time.perf_counter() - began) * 1e3


def _keep_busy(generate, seed: int, stop: threading.Event, settings: dict) -> None:
    for _ in generate.stream(prompt(SHORT_PROMPT, seed), max_new_tokens=900, **settings):
        if stop.is_set():
            break


def _at_once(call: Callable[[int], list[float]], count: int) -> Iterator[list[float]]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        yield from pool.map(call, range(count))


def _child(**options: object) -> dict:
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.benchmarks.generation", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _export(checkpoint: Path, repository: Path, precision: str) -> None:
    command = [
        "export",
        str(checkpoint),
        "--name",
        precision,
        "--precision",
        precision,
        "--repository",
        str(repository),
    ]
    subprocess.run([sys.executable, "-m", "hf2triton", *command], check=True, stdout=sys.stderr)


def compare(options: argparse.Namespace) -> None:
    from hf2triton.serving import Server

    rows: dict[str, dict[str, list[float]]] = {}

    def keep(contender: str, result: dict) -> None:
        for name, value in result.items():
            rows.setdefault(contender, {}).setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as folder:
        checkpoint, repositories = (
            Path(folder) / "checkpoint",
            {name: Path(folder) / name for name in options.precisions},
        )
        make_checkpoint(checkpoint)
        for precision, repository in repositories.items():
            _export(checkpoint, repository, precision)
        for _ in range(options.rounds):
            keep("PyTorch fp32", _child(contender="pytorch", folder=checkpoint, tokens=options.tokens))
            for precision, repository in repositories.items():
                version = repository / precision / "1"
                keep(f"engine {precision}", _child(contender="engine", folder=version, tokens=options.tokens))
                with Server(repository) as server:
                    served = _child(contender="served", url=server.url, name=precision, tokens=options.tokens)
                keep(f"Triton {precision}", served)
    _print(
        {name: {key: statistics.median(values) for key, values in row.items()} for name, row in rows.items()}, options
    )


def _print(medians: dict[str, dict[str, float]], options: argparse.Namespace) -> None:
    cores = len(os.sched_getaffinity(0))
    print(
        f"GPT-2 small (124 M, random weights), {options.tokens} tokens a text, {cores} cores, {options.rounds} rounds"
    )
    pytorch = medians["PyTorch fp32"]["tokens_per_second"]
    print(f"{'contender':16}{'1 stream':>10}{'of PyTorch':>12}{'8 streams':>11}{'of 1':>6}   tokens/s")
    print(f"{'PyTorch fp32':16}{pytorch:>10.1f}{1:>12.2f}")
    for name, row in medians.items():
        if "1 streams" in row:
            one, eight = row["1 streams"], row["8 streams"]
            print(f"{name:16}{one:>10.1f}{one / pytorch:>12.2f}{eight:>11.1f}{eight / one:>6.2f}")
    for precision in options.precisions:
        scheduler, served = medians[f"engine {precision}"], medians[f"Triton {precision}"]
        print(
            f"{precision}: a step takes {scheduler['step after 100 ms']:.2f} ms after 100 tokens,"
            f" {scheduler['step after 900 ms']:.2f} ms after 900; Triton adds {served['gap_ms'] - scheduler['gap_ms']:.2f} ms to"
            " a"
            f" token; first token of a prompt of {LONG_PROMPT}: {served['first token alone ms']:.0f} ms alone,"
            f" {served['first token with seven others ms']:.0f} ms with seven others"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    for internal in ("--contender", "--url", "--name"):
        parser.add_argument(internal, default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    contenders = {
        "pytorch": lambda: measure_pytorch(options.folder, options.tokens),
        "engine": lambda: measure_engine(options.folder, options.tokens),
        "served": lambda: measure_served(options.url, options.name, options.tokens),
    }
    if options.contender:
        print(json.dumps(contenders[options.contender]()))
    else:
        compare(options)


if __name__ == "__main__":
    main()
