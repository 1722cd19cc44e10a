"""What was exported: the manifest.json of each version of a frontend. Only this module reads and writes it.

Keys that manifests of earlier exports lack have defaults. The fields have the names and the order of the JSON keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import NewerFormat, RepositoryError
from .json_files import json_bytes
from .layout import MANIFEST, served_version
from .precision_plan import PrecisionPlan, plan_from
from .record import Record

#: The format that is written. In a later format, the same keys may have another meaning.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class SourceAbout(Record):
    """The checkpoint, as it was `given`. `revision`: its commit on the hub. `digests`: file -> digest."""

    given: str
    revision: str | None
    digests: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class AdapterAbout(Record):
    """The adapter that was merged into the checkpoint, and how."""

    given: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    merge: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GraphAbout(Record):
    """The graph. `release`: the Triton release that it was made for, None for any. `first_release`: the first that runs it."""

    precision: str
    attention: str
    opset: Mapping[str, int]
    ir_version: int
    release: str | None
    first_release: str = ""


@dataclass(frozen=True, kw_only=True)
class GpuMemory(Record):
    """The estimate of a GPU's memory from engines/common/memory.py, in bytes; only the fields that are read back."""

    gpu: int
    context: int
    total: int

    @property
    def own(self) -> int:
        """The total without CUDA's context, which models share."""
        return self.total - self.context


@dataclass(frozen=True, kw_only=True)
class ServingAbout(Record):
    """How it is served. `call_price_tokens`: the overhead of a call of the graph, in tokens; None if no calls are planned.
    `graph_config`: the digest of the graph model's config, if there is such a model and the export recorded it."""

    device: str
    runner: str
    max_batch_size: int
    memory: GpuMemory | None = None
    call_price_tokens: int | None = None
    graph_config: str | None = None


@dataclass(frozen=True, kw_only=True)
class ParityAbout(Record):
    """How far the graph's answers are from PyTorch's."""

    weight_bytes: int
    checks: Sequence[Mapping[str, Any]]

    @property
    def max_abs(self) -> float:
        """The largest difference of all checks."""
        return float(max(check["max_abs"] for check in self.checks))


@dataclass(frozen=True, kw_only=True)
class Manifest(Record):
    """A version of a frontend. `options`: the options of the export; None if it did not record them. `files`: file of the
    version -> its digest."""

    format: int = FORMAT
    name: str
    entry: str = ""
    version: int
    exported_at: str
    task: str
    family: str
    source: SourceAbout
    adapter: AdapterAbout | None = None
    options: Mapping[str, Any] | None = None
    graph: GraphAbout
    serving: ServingAbout
    preprocessing: str
    precision_plan: Mapping[str, Any] | None = None
    parity: ParityAbout
    packages: Mapping[str, str | None]
    files: Mapping[str, str]

    @property
    def owner(self) -> str:
        """The entry that the frontend belongs to. Earlier exports did not record it; then it is the frontend's name, as most
        entries have one frontend."""
        return self.entry or self.name

    @property
    def has_graph_model(self) -> bool:
        """Whether the graph is a separate model, which the frontend calls."""
        return self.serving.runner == "bls"

    @property
    def gpus(self) -> tuple[int, ...]:
        """The numbers of the requested GPUs; empty for all."""
        return tuple((self.options or {}).get("gpus") or ())

    @property
    def plan(self) -> PrecisionPlan:
        """Which nodes stay fp32. Raises RepositoryError if that is not recorded."""
        try:
            return plan_from(self.precision_plan or {})
        except (KeyError, TypeError, ValueError) as error:
            raise RepositoryError(
                f"the manifest of {self.name!r} has no precision plan that can be read: {error}"
            ) from error

    def to_bytes(self) -> bytes:
        """The content of manifest.json."""
        return json_bytes(self.to_json())


def parse_manifest(content: bytes, place: object) -> Manifest:
    """The manifest in a file's content. Raises NewerFormat, and RepositoryError, which names the `place`, for anything else."""
    try:
        read = json.loads(content)
        found = read.get("format", FORMAT) if isinstance(read, Mapping) else FORMAT
        if isinstance(found, int) and found > FORMAT:
            raise NewerFormat(
                f"{place} has format {found}, and this hf2triton reads format {FORMAT}: a later hf2triton has written it."
                " Upgrade with: pip install --upgrade hf2triton"
            )
        return Manifest.from_json(read)
    except ValueError as error:
        raise RepositoryError(f"{place} cannot be read: {error}") from error


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raises RepositoryError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RepositoryError(f"{path} cannot be read: {error}") from error
    return parse_manifest(content, path)


def served_manifest(repository: Path, name: str) -> Manifest:
    """The manifest of the version that is served. Raises RepositoryError."""
    return read_manifest(repository / name / str(served_version(repository, name)) / MANIFEST)
