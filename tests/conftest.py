"""Fixtures: checkpoints, a repository exported from them once a session, and a real server on it."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# nothing here may reach out; set before huggingface_hub is imported
os.environ["HF_HUB_OFFLINE"] = "1"
# PyTorch's threads wait for each other in every layer, which on a busy machine takes longer than the work itself
os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("shared-machine", deadline=None, max_examples=60)
settings.load_profile("shared-machine")

from hf2triton.core.options import ExportOptions  # noqa: E402

from .support import ASSETS  # noqa: E402

FAMILIES = ("bert", "distilbert")
#: (family, task) -> the trained checkpoint that it is made from.
CHECKPOINTS = {
    ("bert", "text-classification"): "bert-sentiment",
    ("bert", "token-classification"): "bert-ner",
    ("bert", "feature-extraction"): "bert-sentiment",
    ("bert", "sentence-similarity"): "bert-ner",
    ("bert", "question-answering"): "bert-qa",
    ("bert", "fill-mask"): "bert-mlm",
    ("bert", "sparse-embedding"): "bert-mlm",
    ("bert", "zero-shot-classification"): "bert-nli",
    ("bert", "rerank"): "bert-rerank",
    ("distilbert", "text-classification"): "distilbert-sentiment",
    ("distilbert", "token-classification"): "distilbert-ner",
    ("distilbert", "feature-extraction"): "distilbert-sentiment",
    ("distilbert", "sentence-similarity"): "distilbert-ner",
    ("distilbert", "fill-mask"): "distilbert-mlm",
    ("vit", "image-classification"): "vit-fashion",
    ("vit", "image-feature-extraction"): "vit-fashion",
    ("clip", "zero-shot-image-classification"): "clip-fashion",
    ("gpt2", "text-generation"): "gpt2-verses",
}
#: What is exported for all tests. tests/families serves the others, which are of a shape that is among these.
SERVED = [pair for pair in CHECKPOINTS if pair[0] != "distilbert" or pair[1] in ("token-classification", "fill-mask")]
PRECISIONS = ("fp32", "fp16")
#: Those that are exported in int8 as well.
WITH_INT8 = (
    ("bert", "text-classification"),
    ("bert", "question-answering"),
    ("distilbert", "token-classification"),
    ("distilbert", "fill-mask"),
    ("vit", "image-classification"),
    ("clip", "zero-shot-image-classification"),
    ("gpt2", "text-generation"),
)
#: Those that are exported in fp16 with the runner bls as well.
WITH_BLS = (
    ("bert", "token-classification"),
    ("bert", "question-answering"),
    ("clip", "zero-shot-image-classification"),
)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Tests read lines of tables as they are on a wide terminal; pytest itself keeps the width of its own."""
    if session.config.pluginmanager.has_plugin("terminalreporter"):
        writer = session.config.get_terminal_writer()
        writer.fullwidth = writer.fullwidth
    os.environ["COLUMNS"] = "1000"


def pytest_collection_finish() -> None:
    """What is imported stays: garbage collection need not look at it again and again, nor so often at what tracing makes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def entry_name(family: str, task: str, precision: str, runner: str = "inprocess") -> str:
    return f"{family}-{task}-{precision}" + ("-bls" if runner == "bls" else "")


def asset(family: str, task: str) -> Path:
    """The trained checkpoint that a family's task is exported from."""
    return ASSETS / CHECKPOINTS[family, task]


def export_asset(repository: Path, family: str, task: str, precision: str, **options: object):
    """Exports one of the trained checkpoints under its `entry_name`, unless `name` is given."""
    from hf2triton.export.pipeline import export

    runner = options.get("runner", "inprocess")
    options = {"name": entry_name(family, task, precision, runner), **options}
    source = str(asset(family, task))
    return export(ExportOptions(source, task=task, precision=precision, repository=repository, **options))


def share_traces(folder: Path) -> None:
    from .traces import share

    share(folder / "traces")


@pytest.fixture(scope="session", autouse=True)
def traces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What PyTorch's exporter makes of a model, one of the tests has it make."""
    if "torch" in sys.modules:
        share_traces(_shared(tmp_path_factory))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with every task in both precisions, and some entries in int8 and with the runner bls."""
    return made_once(tmp_path_factory, "session", _export_all)


def _shared(factory: pytest.TempPathFactory) -> Path:
    """The session's temporary folder, of all workers (pytest-xdist) together."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills once, however many workers there are."""
    folder = _shared(factory) / name / "model_repository"
    folder.parent.mkdir(exist_ok=True)
    made = folder.parent / "made"
    with FileLock(folder.parent / "lock"):
        if not made.exists():
            make(folder)
            made.touch()
    return folder


def _export_all(folder: Path) -> None:
    jobs = [(*pair, precision, "inprocess") for pair in SERVED for precision in PRECISIONS]
    jobs += [(*pair, "int8", "inprocess") for pair in WITH_INT8]
    jobs += [(*pair, "fp16", "bls") for pair in WITH_BLS]
    # an export mostly traces, which uses one core; publishers wait for each other
    workers, context = len(os.sched_getaffinity(0)), get_context("spawn")
    with ProcessPoolExecutor(workers, context, share_traces, (folder.parents[1],)) as pool:
        for done in [pool.submit(_export, folder, *job) for job in jobs]:
            done.result()


def _export(folder: Path, family: str, task: str, precision: str, runner: str, **options: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_asset(folder, family, task, precision, runner=runner, **options)


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator:
    """A real server on the session's repository. Tests that stop or break it start their own."""
    from hf2triton.serving import Server

    with Server(repository) as running:
        yield running


@pytest.fixture(scope="session")
def measured_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository: `sentiment` in fp32, and `verses`, which generates, in fp16."""

    def make(folder: Path) -> None:
        _export(folder, "bert", "text-classification", "fp32", "inprocess", name="sentiment")
        _export(folder, "gpt2", "text-generation", "fp16", "inprocess", name="verses")

    return made_once(tmp_path_factory, "measured", make)


@pytest.fixture(scope="session")
def measured(measured_repository: Path) -> Iterator:
    """A server on `measured_repository` that allows shared memory."""
    from hf2triton.serving import Server

    with Server(measured_repository, shared_memory=True) as running:
        yield running


class Drafts:
    """Makes staged entries of entries, from one export whose result is kept, so that publishing takes no time."""

    def __init__(self, folder: Path) -> None:
        import hf2triton.export.pipeline as pipeline
        from hf2triton.repository import add_entry as publish

        def keep(staged_entries: list) -> None:
            [staged] = staged_entries
            path = Path(shutil.copy(staged.stored.path, folder / "model.onnx"))
            self._kept = replace(staged, stored=replace(staged.stored, files={path.name: path}))

        original, publish.publish = publish.publish, keep
        try:
            source = str(asset("bert", "text-classification"))
            pipeline.export(ExportOptions(source, "model", repository=folder / "unused"))
        finally:
            publish.publish = original

    def __call__(self, repository: Path, runner: str = "inprocess", **options: object):
        """The one frontend of an entry. Entries differ if their options do."""
        options = replace(self._kept.options, repository=repository, runner=runner, **options)
        return replace(self._kept, options=options)

    def pair(self, repository: Path, **options: object) -> list:
        """Two frontends of one entry, as those of tasks that have two. They have no questions, which pipelines of such tasks
        ask."""
        one = self(repository, **options)
        one = replace(one, baseline=replace(one.baseline, questions=None))
        return [replace(one, endpoint=replace(one.endpoint, suffix=suffix)) for suffix in ("_text", "_image")]


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Drafts:
    """The staged entries of a small model that classifies texts, in fp16."""
    return Drafts(tmp_path_factory.mktemp("draft"))


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `hf2triton verify` keeps its environments: the session's own folder, unless the environment names one."""
    from hf2triton.verify.environments import CACHE

    with pytest.MonkeyPatch.context() as patch:
        if CACHE not in os.environ:
            patch.setenv(CACHE, str(_shared(tmp_path_factory) / "runtimes"))
        yield Path(os.environ[CACHE]) / "runtimes"


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the demo's model, all-MiniLM-L6-v2, as `hf2triton demo` exports it."""
    from hf2triton.demo.examples import weights
    from hf2triton.export.pipeline import export

    def make(folder: Path) -> None:
        export(ExportOptions(str(weights()), "minilm", repository=folder))

    return made_once(tmp_path_factory, "minilm", make)
