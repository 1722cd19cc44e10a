"""Entries made with `--device cuda`, on a GPU: `make bench-cuda`. It needs onnxruntime-gpu in place of onnxruntime,
and a PyTorch with CUDA: `make bench-cuda TORCH=torch` and `pip install onnxruntime-gpu` into its environment.

    parity   the trained checkpoints of all families: PyTorch's answers against those of CUDA's provider
    graphs   models of usual sizes with random weights: which attention kernels run, what a call takes and what the planner's
             call overhead is then, the GPU's memory beside its estimate
    speed    `hf2triton bench` on them, PyTorch in fp16 beside it

Prints Markdown. Each graph is measured in a process of its own. `--only` picks one of the three; `--folder` keeps what is
exported between runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..support import ASSETS

#: Trained checkpoints -> their tasks, where they have several.
TRAINED = {
    "bert-sentiment": "text-classification",
    "bert-ner": "token-classification",
    "bert-qa": "question-answering",
    "bert-mlm": "fill-mask",
    "bert-nli": "zero-shot-classification",
    "distilbert-sentiment": "text-classification",
    "vit-fashion": "image-classification",
    "clip-fashion": "zero-shot-image-classification",
    "gpt2-verses": "text-generation",
}
#: Models of usual sizes -> (checkpoint whose processor they take, class, what its configuration says otherwise).
SIZES = {
    "minilm": (
        "bert-sentiment",
        "BertForSequenceClassification",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "bert-base": (
        "bert-sentiment",
        "BertForSequenceClassification",
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "vit-base": (
        "vit-fashion",
        "ViTForImageClassification",
        {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "image_size": 224,
            "patch_size": 16,
            "num_channels": 3,
        },
    ),
    "gpt2": ("gpt2-verses", "GPT2LMHeadModel", {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}),
}
#: Rows and tokens of the calls whose kernels and times are shown; an image always has as many.
CALLS = ((1, 16), (1, 128), (8, 128), (32, 128), (8, 512))
REPEATS = 20


def checkpoint(name: str, folder: Path) -> Path:
    """One of SIZES, written as `save_pretrained` does, with random weights of a fixed seed."""
    import torch
    import transformers

    source, model, changes = SIZES[name]
    path = folder / "sources" / name
    if path.exists():
        return path
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(ASSETS / source)
    usual = {"vocab_size": 30522, "max_position_embeddings": 512} if "Bert" in model else {}
    usual |= {"vocab_size": 50257} if "GPT2" in model else {}
    for key, value in {**usual, **changes}.items():
        setattr(config, key, value)
    getattr(transformers, model)(config).eval().save_pretrained(path)
    for file in (ASSETS / source).iterdir():  # the tokenizer or the image processor
        if (
            file.is_file()
            and file.name not in ("config.json", "generation_config.json")
            and not file.name.startswith("model")
        ):
            (path / file.name).write_bytes(file.read_bytes())
    if "ViT" in model:
        processor = json.loads((path / "preprocessor_config.json").read_text())
        processor["size"] = {"height": config.image_size, "width": config.image_size}
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return path


def export(source: Path, name: str, folder: Path, *options: str) -> dict[str, Any]:
    """The report of an export, made once."""
    report = folder / f"{name}.json"
    if not report.exists():
        command = [sys.executable, "-m", "hf2triton", "export", str(source), "--name", name, "--device", "cuda"]
        command += ["--repository", str(folder / "repository"), "--report", str(report), *options]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        print(f"export {name}: {done.returncode}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            print(done.stderr[-1500:], file=sys.stderr, flush=True)
    return json.loads(report.read_text()) if report.exists() else {}


def parity(folder: Path) -> None:
    """What the exports measured on the GPU, the worst of each frontend."""
    with ThreadPoolExecutor(4) as pool:
        reports = pool.map(lambda item: export(ASSETS / item[0], item[0], folder, "--task", item[1]), TRAINED.items())
        table("checkpoint", "output", "checks", "largest difference", "smallest cosine", "same best", "passed")
        for name, report in zip(TRAINED, reports, strict=True):
            found = report.get("parity") or {}
            for frontend, own in found.items() if "checks" not in found else [(name, found)]:
                checks = [check for check in own["checks"] if check["name"].startswith("on the GPU: ")]
                for output in dict.fromkeys(check["output"] for check in checks):
                    some = [check for check in checks if check["output"] == output]
                    row(
                        frontend,
                        output,
                        len(some),
                        f"{max(check['max_abs'] or 0 for check in some):.2g}",
                        least(check["cosine"] for check in some),
                        least(check["argmax"] for check in some),
                        all(check["passed"] for check in some),
                    )
                if not checks:
                    row(frontend, "nothing was run on a GPU", "", "", "", "", "")
            if not found:
                row(name, report.get("error", "the export failed"), "", "", "", "", "")


def graphs(folder: Path) -> None:
    """Kernels, times, overhead and memory of the graphs, each in a process of its own."""
    for name in SIZES:
        report = export(checkpoint(name, folder), name, folder)
        command = [sys.executable, "-m", "tests.benchmarks.cuda", "--measure", name, "--folder", str(folder)]
        environment = {**os.environ, "ORT_ENABLE_ATTENTION_KERNEL_DEBUG_INFO": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        print(f"\n### {name}\n\n{done.stdout}{done.stderr[-1500:] if done.returncode else ''}", flush=True)
        print(f"Estimate of the memory: {json.dumps(report.get('memory'))}", flush=True)


def measure(name: str, folder: Path) -> None:
    """One graph in this process. What onnxruntime prints of its kernels comes between."""
    import onnxruntime

    from hf2triton.core.layout import graph_file
    from hf2triton.core.manifest import served_manifest
    from hf2triton.parity.call_overhead import fit_call_overhead
    from hf2triton.triton_models.sessions import open_session

    repository = folder / "repository"
    manifest = served_manifest(repository, name)
    empty = used()
    session = open_session(str(graph_file(repository, name, manifest.version)), "cuda", 0, 0)
    opened = used()
    placed = dict(zip(("runs on",), session.get_providers(), strict=False))
    print(f"onnxruntime {onnxruntime.__version__}, {placed['runs on']}\n", flush=True)
    sizes, seconds = [], []
    for rows, tokens in calls(session):
        feeds = {value.name: filled(value, rows, tokens) for value in session.get_inputs()}
        print(f"{rows} x {tokens}:", flush=True)
        times = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - began)
        sizes.append(rows * tokens)
        seconds.append(float(np.median(times[3:])))
        print(f"{rows} x {tokens}: {seconds[-1] * 1000:.3f} ms, GPU {used() - empty} MB", flush=True)
    overhead = fit_call_overhead(sizes, seconds, 1 << 14)
    print(f"\ncall overhead {overhead} tokens; memory {opened - empty} MB once open, {used() - empty} MB in the end")


def calls(session: Any) -> Iterator[tuple[int, int]]:
    """The rows and tokens that are tried; a decoder's prompts are one row."""
    names = {value.name for value in session.get_inputs()}
    for rows, tokens in CALLS:
        if "pixel_values" in names:
            if tokens == 128:
                yield rows, 197
        elif rows == 1 or "position_ids" not in names:
            yield rows, tokens


def filled(value: Any, rows: int, tokens: int) -> np.ndarray:
    """Zeros for tokens, pixels and an empty past, ones for the mask."""
    sizes = {"batch": rows, "past": 0}
    shape = [one if isinstance(one, int) else sizes.get(one, 1 if one == "masks" else tokens) for one in value.shape]
    dtype = {"tensor(int64)": np.int64, "tensor(float16)": np.float16, "tensor(float)": np.float32}[value.type]
    return np.full(shape, value.name == "attention_mask", dtype)


def used() -> int:
    """MB of the GPU in use, by whomever."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def speed(folder: Path, rounds: int, seconds: float) -> None:
    """`hf2triton bench` of each: texts of 16 and 128 tokens in batches, prompts from 1 and 8 callers at a time."""
    for name in SIZES:
        export(checkpoint(name, folder), name, folder)
        texts = ["--concurrency", "1", "--batch-size", "1,8,32"]
        loads = {
            "gpt2": ["--concurrency", "1,8"],
            "vit-base": texts,
            "minilm": [*texts, "--length", "16,128"],
            "bert-base": [*texts, "--length", "16,128", "--compile"],
        }
        command = [sys.executable, "-m", "hf2triton", "bench", name, "--repository", str(folder / "repository")]
        command += ["--device", "cuda", "--contender", "pytorch", "--contender", "onnxruntime", *loads[name]]
        command += ["--rounds", str(rounds), "--seconds", str(seconds), "--warm-up", "0.3"]
        command += ["--report", str(folder / f"{name}-speed.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        print(f"\n### {name}\n\n{done.stdout}{done.stderr[-1500:] if done.returncode else ''}", flush=True)


def least(values: Iterator[float | None]) -> str:
    given = [value for value in values if value is not None]
    return f"{min(given):.6f}" if given else ""


def table(*columns: str) -> None:
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=("export", "parity", "graphs", "speed"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--measure", choices=SIZES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        return measure(asked.measure, asked.folder)
    with tempfile.TemporaryDirectory() as own:
        folder = asked.folder or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        if asked.only == "export":
            with ThreadPoolExecutor(len(SIZES)) as pool:
                list(pool.map(lambda name: export(checkpoint(name, folder), name, folder), SIZES))
        if asked.only in (None, "parity"):
            parity(folder)
        if asked.only in (None, "graphs"):
            graphs(folder)
        if asked.only in (None, "speed"):
            speed(folder, asked.rounds, asked.seconds)


if __name__ == "__main__":
    main()
