"""How much memory the dearest requests take that a frontend answers: `make bench-memory`.

Each of `dear.cases` is sent to an entry of a real server, alone or from as many callers as make a full batch. Prints the
seconds it took, the most memory that the model's process and tritonserver held above what they hold when idle, and what the
model's process kept two seconds later (Linux tells both in /proc/PID/status), in MiB; or the refusal. What lies in shared memory
counts. At the end the worst single request and the worst full batch, of texts and of images. `--repository` serves one that has
such entries, in place of a new one. `--only` names entries, or parts of the names of requests.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from hf2triton_client import ClientError, connect, pipeline
from hf2triton_client.transport.connection import Connection
from hf2triton_client.transport.served_model import ServedModel

from ..support import ASSETS
from .dear import ENTRIES, Case, cases

#: Seconds after which memory that is given back has been given back.
PAUSE = 2.0


def ask(case: Case, url: str, connection: Connection) -> None:
    """Sends a case once, and waits for the answer."""
    if "text_input" in case.inputs:
        options = {"truncate_prompt": True, "max_new_tokens": 1, "do_sample": False, "return_full_text": False}
        with pipeline("text-generation", model=case.entry, url=url, timeout=600) as generate:
            generate(case.inputs["text_input"][0], **{**options, **case.options})
        return
    model = ServedModel.from_config(connection.model_config(case.entry))
    names = [name for name in model.settings["outputs"] if name not in _OWN]
    if "answers" in names:  # as pipelines do, which leave the logits that these are made of on the server
        names = ["answers"]
    for request in model.requests(case.inputs, names, 1 << 30):
        connection.infer(request)


#: Outputs that the client asks for by itself.
_OWN = ("num_tokens", "num_truncated_tokens", "num_masks", "fingerprint")


@contextmanager
def measured(processes: Mapping[str, psutil.Process], idle: Mapping[str, float]) -> Iterator[dict[str, float]]:
    """The seconds, and for each process the most MiB above what it holds when idle; `kept`: of the model's, afterwards."""
    found: dict[str, float] = {}
    for process in processes.values():
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak is now what it holds
    began = time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - began
    found |= {name: memory(process, "VmHWM") - idle[name] for name, process in processes.items()}
    time.sleep(PAUSE)
    found["kept"] = memory(processes["model"], "VmRSS") - idle["model"]


def memory(process: psutil.Process, what: str) -> float:
    """MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


def processes_of(entry: str, repository: Path) -> dict[str, psutil.Process]:
    """The process that runs an entry's code, and tritonserver."""
    [found] = [
        psutil.Process(process.pid)  # the one found may be kept from an earlier process with this pid
        for process in psutil.process_iter(["cmdline"])
        if any(f"{repository.resolve()}/{entry}/" in part for part in (process.info["cmdline"] or ())[1:])
    ]
    return {"model": found, "server": found.parent()}


def run(repository: Path, only: Sequence[str]) -> None:
    from hf2triton.serving import Server

    chosen = [
        case
        for case in cases()
        if (not only or any(part == case.entry or part in case.name for part in only))
        and (repository / case.entry).is_dir()
    ]
    worst: dict[tuple[str, str], tuple[float, str]] = {}
    columns = "".join(f"{name:>9}" for name in ("callers", "MB", "seconds", "model", "server", "kept"))
    print(f"{'entry':15}{'request':50}{columns}   MiB above idle")
    with Server(repository) as server, connect(server.url, timeout=600, retries=0) as connection:
        for entry in dict.fromkeys(case.entry for case in chosen):
            processes = processes_of(entry, repository)
            idle = {name: memory(process, "VmRSS") for name, process in processes.items()}
            for case in (case for case in chosen if case.entry == entry):
                reason = ""
                with measured(processes, idle) as found, ThreadPoolExecutor(case.callers) as pool:
                    futures = [pool.submit(ask, case, server.url, connection) for _ in range(case.callers)]
                    for future in futures:
                        if isinstance(error := future.exception(), ClientError):
                            reason = f"  {error}"[:120]
                        elif error is not None:
                            raise error
                print(
                    f"{case.entry:15}{case.name:50}{case.callers:>9}{case.size * case.callers / 1e6:>9.1f}"
                    f"{found['seconds']:>9.2f}{found['model']:>9.0f}{found['server']:>9.0f}{found['kept']:>9.0f}{reason}",
                    flush=True,
                )
                which = (case.kind, "one request" if case.callers == 1 else "a full batch")
                worst[which] = max(worst.get(which, (0.0, "")), (found["model"], f"{case.entry}: {case.name}"))
    for (kind, callers), (peak, what) in sorted(worst.items()):
        print(f"worst of {kind}, {callers}: {peak:.0f} MiB above idle ({what})")


def main() -> None:
    from hf2triton.core.options import ExportOptions
    from hf2triton.export.pipeline import export

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    options = parser.parse_args()
    if options.repository:
        return run(options.repository, options.only)
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        named = set(ENTRIES).intersection(options.only)
        for name, (source, task) in ENTRIES.items():
            if not named or name in named:
                entry = name.removesuffix("_text")  # CLIP has two frontends
                export(ExportOptions(str(ASSETS / source), entry, task=task, repository=repository))
        run(repository, options.only)


if __name__ == "__main__":
    main()
