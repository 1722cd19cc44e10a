"""Compares a served entry with a reference: the baseline of its export, a recorded baseline, or PyTorch itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf2triton_client import Connection
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import Difference
from hf2triton_client.evaluation.datasets import read_questions
from hf2triton_client.evaluation.results import Check, Validation
from hf2triton_client.evaluation.validate import validate
from hf2triton_client.transport.served_model import ServedModel

from ..core.layout import baseline_path, entries, frontends_of
from ..core.manifest import served_manifest
from ..core.options import ExportOptions
from ..core.stages import Progress
from ..errors import UsageError
from ..repository.folder import Folder
from ..repository.integrity import version_damages, warmup_damages
from ..tasks import TASKS

#: The endings of frontends' names; the first is the ending for tasks with a single frontend.
SUFFIXES = tuple(dict.fromkeys(endpoint.suffix for task in TASKS.values() for endpoint in task.endpoints))
#: How many calls are timed.
CALLS = 30


@dataclass(frozen=True)
class Against:
    """The reference for an entry: PyTorch running `source` (with an `adapter`, which calls it `base_name`), or the
    `baseline` in a file, or the baseline in the entry in `repository`. Also labelled data; `columns` maps its column names,
    if they differ."""

    repository: Path = Path("model_repository")
    baseline: Path | None = None
    source: str | None = None
    adapter: str | None = None
    base_name: str | None = None
    dataset: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def served_at(url: str, repository: Path | None) -> Iterator[str]:
    """The URL of a server: either the given one, or that of an embedded server that serves a repository meanwhile."""
    if repository is None:
        yield url
        return
    from ..serving import Server

    with Server(repository) as server:
        yield server.url


def validate_entries(
    connection: Connection, names: Sequence[str], against: Against, progress: Progress = lambda stage: None
) -> list[Validation]:
    """Validates the frontends of some entries, or of all in the repository. Raises the errors of errors.py and of the
    client."""
    if against.baseline is not None and against.source is not None:
        raise UsageError("--baseline and --source exclude each other: either is whom the model is compared with")
    if against.adapter is not None and against.source is None:
        raise UsageError("--adapter is merged into --source; give that as well")
    special = [f"--{name}" for name in ("baseline", "source", "dataset") if getattr(against, name) is not None]
    if special and len(names) != 1:
        raise UsageError(
            f"{' and '.join(special)} {'are' if special[1:] else 'is'} of one model: give one NAME with it"
        )
    names = names or entries(against.repository)
    if not names:
        raise UsageError(f"{against.repository} holds no entries; give a NAME, or another --repository")
    return [found for name in names for found in _validate(connection, name, against, progress)]


def _validate(connection: Connection, name: str, against: Against, progress: Progress) -> list[Validation]:
    """Validates each frontend of an entry."""
    if against.source is not None:
        expected = _ask_pytorch(connection, name, against.source, against, progress)
    elif against.baseline is not None:
        expected = _recorded(name, against.baseline)
    else:
        repository = against.repository
        expected = {
            frontend: Baseline.load(baseline_path(repository, frontend)) for frontend in frontends_of(repository, name)
        }
    found = []
    for index, (frontend, baseline) in enumerate(expected.items(), 1):
        progress(f"ask {frontend}")
        # PyTorch's answers for a file are already among the baseline's own questions
        file = against.dataset if against.source is None and index == len(expected) else None
        labelled = None if file is None else read_questions(file, baseline.task, against.columns)
        one = validate(connection, frontend, baseline, labelled, CALLS)
        if against.source is None and against.baseline is None:
            one = replace(one, checks=(*one.checks, _undamaged(against.repository, frontend)))
        found.append(one)
    return found


def _undamaged(repository: Path, frontend: str) -> Check:
    """Whether the files that decide a frontend's answers are as the export wrote them: inputs that are not tested would not
    reveal a change."""
    manifest = served_manifest(repository, frontend)
    damages = (*version_damages(Folder(repository), frontend, manifest), *warmup_damages(repository, frontend))
    return Check(
        "files in the repository, as they were written",
        (Difference("files", len(manifest.files), 0.0, 0.0, None, None, damages),),
    )


def beside(path: Path, suffix: str) -> Path:
    """The path of the baseline of a frontend with a suffix, given the path for the entry."""
    return path.with_name(f"{path.stem}{suffix}{path.suffix}")


def _recorded(name: str, path: Path) -> dict[str, Baseline]:
    """Frontend -> its baseline: from the file for one frontend, or from the files next to it for each frontend."""
    files = {name: path} if path.exists() else {f"{name}{suffix}": beside(path, suffix) for suffix in SUFFIXES[1:]}
    present = {frontend: Baseline.load(file) for frontend, file in files.items() if file.exists()}
    return present or {name: Baseline.load(path)}


def _ask_pytorch(
    connection: Connection, name: str, source: str, against: Against, progress: Progress
) -> dict[str, Baseline]:
    from ..parity.baseline_recorder import record

    options = ExportOptions(source, name, _served_task(connection, name), against.adapter, against.base_name)
    recorded = record(options, against.dataset, against.columns, progress)
    return {f"{name}{suffix}": baseline for suffix, baseline in recorded.items()}


def _served_task(connection: Connection, name: str) -> str:
    """The task of an entry, from the first of its frontends that is served."""
    configs = (connection.find_config(f"{name}{suffix}") for suffix in SUFFIXES)
    config = next((config for config in configs if config is not None), None)
    return ServedModel.from_config(config or connection.model_config(name)).task
