"""The frozen dataclasses that travel along the stages of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf2triton_client.compare import Difference

from .families import Family
from .tasks import Task

if TYPE_CHECKING:
    import onnx_ir
    import torch


@dataclass(frozen=True)
class ExportOptions:
    """What the user asked for, checked. `source` is a folder or a hub id; `task` None means: infer it."""

    source: str
    name: str
    task: str | None = None
    revision: str | None = None
    precision: str = "fp16"
    release: str | None = None
    attention: str = "fused"
    device: str = "cpu"
    runner: str | None = None
    repository: Path = Path("model_repository")
    max_batch_size: int = 64
    threads: int = 0
    allow_pickle: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Pooling:
    """How token states become one embedding: `mode` is "mean" or "cls"; `normalize` scales it to length 1."""

    mode: str
    normalize: bool


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as the front loads it: `definition` is the text of a tokenizer.json, without padding or truncation."""

    definition: str
    pad_token_id: int
    unk_token: str | None
    decoder: Mapping[str, Any] | None


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies: `given` by the user, `folder` on this machine, `revision` if it came from the hub.

    `config`: the model's config.json. `modules`: kind -> subfolder of a sentence-transformers folder's modules, empty for
    any other. `digests`: file -> sha256 of all that the checkpoint consists of.
    """

    given: str
    folder: Path
    revision: str | None
    config: Mapping[str, Any]
    modules: Mapping[str, str]
    digests: Mapping[str, str]

    @property
    def model_folder(self) -> Path:
        """The folder with the weights, which sentence-transformers may put into a subfolder."""
        return self.folder / self.modules.get("Transformer", "")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model in fp32 and evaluation mode, its tokenizer, and what its files say of its use.

    `max_length`: the most tokens it takes, special ones included. `id2label` is empty where there is no head.
    """

    source: Source
    family: Family
    task: Task
    model: torch.nn.Module
    tokenizer: Tokenizer
    max_length: int
    pooling: Pooling | None
    id2label: Mapping[int, str]
    problem_type: str | None


@dataclass(frozen=True)
class Graph:
    """An ONNX model on its way through the passes.

    `inputs`: names, each int64 `[batch, sequence]`. `output`: the name of its fp32 output, `[batch, width]` if `per` is
    "row" or `[batch, sequence, width]` if it is "token". `full_precision`: names of nodes that stay fp32 when the rest
    becomes fp16.
    """

    model: onnx_ir.Model
    inputs: tuple[str, ...]
    output: str
    per: str
    width: int
    attention: str
    precision: str = "fp32"
    full_precision: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StoredGraph:
    """A graph on disk. `graph` is its description, without weights; `twin` lies beside an fp16 graph and computes in fp32
    what fp16 rounds to. `weight_bytes`: of all its initializers."""

    graph: Graph
    path: Path
    twin: Path
    weight_bytes: int

    @property
    def has_twin(self) -> bool:
        return self.graph.precision == "fp16"


@dataclass(frozen=True)
class ParityCheck:
    """One way of running the graph, and how far its output was from PyTorch."""

    name: str
    difference: Difference


@dataclass(frozen=True)
class ParityReport:
    """All checks of one graph. `weight_bytes`: of its initializers; `fp32_weight_bytes`: before the conversion."""

    checks: tuple[ParityCheck, ...]
    weight_bytes: int
    fp32_weight_bytes: int

    @property
    def passed(self) -> bool:
        return all(check.difference.passed for check in self.checks)

    @property
    def worst(self) -> ParityCheck:
        """The check with the largest difference."""
        return max(self.checks, key=lambda check: check.difference.max_abs)

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "weight_bytes": self.weight_bytes,
            "fp32_weight_bytes": self.fp32_weight_bytes,
            "checks": [{"name": check.name, **check.difference.to_json()} for check in self.checks],
        }


@dataclass(frozen=True)
class Entry:
    """What an export added to a repository. `paths`: the folders of the front and, with the runner bls, of the graph."""

    name: str
    version: int
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class ExportReport:
    """The result of an export. `entry` is None after a dry run; `seconds`: each stage's time."""

    options: ExportOptions
    task: str
    family: str
    parity: ParityReport
    entry: Entry | None
    manifest: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.options.name,
            "version": self.entry.version if self.entry else None,
            "paths": [str(path) for path in self.entry.paths] if self.entry else [],
            "seconds": dict(self.seconds),
            "manifest": dict(self.manifest),
        }
