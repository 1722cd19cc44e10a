"""How much memory the dearest requests take that a front answers: `make bench-memory`.

Each row of the tables below is sent to an entry of a real server, alone or from as many callers as make a full batch. Prints the
seconds it took, the most memory that the model's process held above what it holds when idle, and what it kept (Linux tells both
in /proc/PID/status), in MiB; or the refusal. `--repository` serves one that has such entries, in place of a new one. `--only`
names entries, or parts of the names of requests.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hf2triton_client import ClientError, connect, pipeline
from hf2triton_client.connection import Connection
from hf2triton_client.served_model import ServedModel

from ..support import ASSETS

#: Entry -> the asset it is exported from, and its task.
ENTRIES = {
    "sentiment": ("bert-sentiment", "text-classification"),
    "entities": ("bert-ner", "token-classification"),
    "answers": ("bert-qa", "question-answering"),
    "blanks": ("bert-mlm", "fill-mask"),
    "pictures_text": ("clip-fashion", None),
    "verses": ("gpt2-verses", "text-generation"),
}
#: Rows of a full batch.
BATCH = 64
MIB = 1 << 20


def filled(unit: str, size: int = MIB) -> str:
    """A text of `size` bytes, or a few less."""
    return unit * (size // len(unit.encode()))


#: What texts of 1 MiB are made of.
UNITS = {
    "words": "It was the best of films, it was the worst. ",
    "letters": "a ",
    "exclamation marks": "!",
    "spaces": " ",
    "one word": "a",
    "emoji": "😀",
    "Chinese": "東",
    "accents": "e\u0301",
    "ligatures": "ﷺ",
    "added tokens": "[MASK]",
}


@dataclass(frozen=True)
class Case:
    """What is asked of an entry: inputs, a value for each row. `callers`: how many ask at the same time. `options`: of the
    pipeline, for entries that generate."""

    entry: str
    name: str
    inputs: Mapping[str, Sequence[str | bytes]]
    callers: int = 1
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def size(self) -> int:
        values = [value for column in self.inputs.values() for value in column]
        return sum(len(value.encode() if isinstance(value, str) else value) for value in values)


def cases() -> Iterator[Case]:
    for unit, text in UNITS.items():
        yield Case("sentiment", f"1 MiB of {unit}", {"text": [filled(text)]})
    short, long = filled("!", 14_000), filled("!")
    yield Case("sentiment", "a pair of 14 kB each", {"text": [short], "text_pair": [short]})
    yield Case("sentiment", "a pair of 1 MiB each", {"text": [long], "text_pair": [long]})
    yield Case("sentiment", "4 rows of 1 MiB", {"text": [long] * 4})
    yield Case("sentiment", "12 rows of 1 MiB", {"text": [long] * 12})
    yield Case("sentiment", "32 rows of 32 kB", {"text": [filled("!", 32_000)] * 32})
    yield Case("sentiment", "a batch of 1 MiB each", {"text": [long]}, BATCH)
    yield Case("sentiment", "a batch of pairs of 8 kB", {"text": [short[:8000]], "text_pair": [short[:8000]]}, BATCH)
    yield Case("sentiment", "a batch of pairs of 1 MiB", {"text": [long], "text_pair": [long]}, BATCH)
    yield Case("entities", "tokens and offsets of 1 MiB", {"text": [long]})
    yield Case("entities", "tokens and offsets, a batch", {"text": [long]}, BATCH)
    context = filled(UNITS["words"])
    yield Case("answers", "a context of 1 MiB", {"text": ["Who?"], "text_pair": [context]})
    yield Case("answers", "a context of 64 windows", {"text": ["Who?"], "text_pair": [filled("! ", 2 * 64 * 59)]})
    yield Case("answers", "a question of 1 MiB", {"text": [context], "text_pair": [context]})
    yield Case("answers", "contexts of 64 windows, a batch", {"text": ["?"], "text_pair": [long[: 64 * 59]]}, BATCH)
    yield Case("blanks", "full of masks", {"text": [filled("[MASK]")]})
    yield Case("blanks", "full of masks, a batch", {"text": [filled("[MASK]")]}, BATCH)
    for unit, text in UNITS.items():
        yield Case("pictures_text", f"1 MiB of {unit}", {"text": [filled(text)]})
    for unit, text in UNITS.items():
        yield Case("verses", f"a prompt of 1 MiB of {unit}", {"text_input": [filled(text)]})
    yield Case("verses", "prompts of 1 MiB of letters, a batch", {"text_input": [filled("a ")]}, BATCH)
    many = {"num_return_sequences": 64, "do_sample": True, "return_full_text": True}
    yield Case("verses", "64 texts with their prompt of 1 MiB", {"text_input": [filled("a ")]}, options=many)


def ask(case: Case, url: str, connection: Connection) -> None:
    """Sends a case once, and waits for the answer."""
    if "text_input" in case.inputs:
        options = {"truncate_prompt": True, "max_new_tokens": 1, "do_sample": False, "return_full_text": False}
        with pipeline("text-generation", model=case.entry, url=url, timeout=600) as generate:
            generate(case.inputs["text_input"][0], **{**options, **case.options})
        return
    model = ServedModel.from_config(connection.model_config(case.entry))
    # one request, with all that the entry answers
    [request] = model.requests(case.inputs, [name for name in model.settings["outputs"] if name[:4] != "num_"], 1 << 30)
    connection.infer(request)


@contextmanager
def measured(process: psutil.Process, idle: float) -> Iterator[dict[str, float]]:
    """The seconds, the most memory above `idle` MiB and what was kept of it."""
    found: dict[str, float] = {}
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak is now what it holds
    began = time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - began
    found |= {"peak": memory(process, "VmHWM") - idle, "kept": memory(process, "VmRSS") - idle}


def memory(process: psutil.Process, what: str) -> float:
    """MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


def process_of(entry: str, repository: Path) -> psutil.Process:
    """The process that runs an entry's code."""
    [found] = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(f"{repository.resolve()}/{entry}/" in part for part in (process.info["cmdline"] or ())[1:])
    ]
    return found


def run(repository: Path, only: Sequence[str]) -> None:
    from hf2triton.serving import Server

    chosen = [case for case in cases() if not only or any(part == case.entry or part in case.name for part in only)]
    print(f"{'entry':15}{'request':40}{'callers':>8}{'MB':>7}{'seconds':>9}{'peak MiB':>10}{'kept MiB':>10}")
    with Server(repository) as server, connect(server.url, timeout=600, retries=0) as connection:
        for entry in dict.fromkeys(case.entry for case in chosen):
            process = process_of(entry, repository)
            idle = memory(process, "VmRSS")
            for case in (case for case in chosen if case.entry == entry):
                reason = ""
                with measured(process, idle) as found, ThreadPoolExecutor(case.callers) as pool:
                    futures = [pool.submit(ask, case, server.url, connection) for _ in range(case.callers)]
                    for future in futures:
                        if isinstance(error := future.exception(), ClientError):
                            reason = f"  {error}"[:120]
                        elif error is not None:
                            raise error
                print(
                    f"{case.entry:15}{case.name:40}{case.callers:>8}{case.size / 1e6:>7.1f}{found['seconds']:>9.2f}"
                    f"{found['peak']:>10.0f}{found['kept']:>10.0f}{reason}",
                    flush=True,
                )


def main() -> None:
    from hf2triton.artifacts import ExportOptions
    from hf2triton.pipeline import export

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    options = parser.parse_args()
    if options.repository:
        return run(options.repository, options.only)
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        for name, (source, task) in ENTRIES.items():
            name = name.removesuffix("_text")
            export(ExportOptions(str(ASSETS / source), name, task=task, repository=repository))
        run(repository, options.only)


if __name__ == "__main__":
    main()
