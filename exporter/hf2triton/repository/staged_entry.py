"""An entry before it is written: the parts of each of its frontends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.evaluation.baseline import Baseline

from ..core.frontend_settings import FrontendSettings
from ..core.layout import frontend_name
from ..core.options import ResolvedOptions
from ..core.types import Checkpoint, MemoryEstimate, ParityReport, StoredGraph
from ..tasks.base import Endpoint


@dataclass(frozen=True)
class StagedEntry:
    """One frontend of an entry before it has a version. `call_overhead`: what one more call costs, in tokens; None if the
    frontend has no calls to plan. `memory`: its use of GPU memory; None on a CPU. `more`: additional files of its version."""

    options: ResolvedOptions
    checkpoint: Checkpoint
    endpoint: Endpoint
    stored: StoredGraph
    parity: ParityReport
    baseline: Baseline
    call_overhead: int | None
    memory: MemoryEstimate | None = None
    more: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the frontend."""
        return frontend_name(self.options.name, self.endpoint)

    @property
    def max_batch_size(self) -> int:
        """The largest batch that is served: the requested one, or as many rows as fit on the GPU."""
        return self.options.max_batch_size if self.memory is None else self.memory.max_batch_size


@dataclass(frozen=True)
class FrontendFiles:
    """The parts of one version of a frontend. `config`: its config.pbtxt. `code`: file of the entry -> its file in triton_models.
    `settings`: what the code reads when it starts. `warmup`: its warm-up files. `more`: other files of the version.
    `graph_config` and `graph_warmup`: those of the model that holds the graph, if that is a separate model."""

    config: pb.ModelConfig
    code: Mapping[str, str]
    settings: FrontendSettings
    warmup: Mapping[str, bytes] = field(default_factory=dict)
    more: Mapping[str, bytes] = field(default_factory=dict)
    graph_config: pb.ModelConfig | None = None
    graph_warmup: Mapping[str, bytes] = field(default_factory=dict)


def python_files(*folder: str) -> list[str]:
    """The names of the Python files in triton_models, or in a folder there."""
    files = resources.files("hf2triton.triton_models").joinpath(*folder).iterdir()
    return sorted(path.name for path in files if path.name.endswith(".py"))


@dataclass(frozen=True)
class ModelFiles:
    """One model folder to be written: `shared` beside config.pbtxt, `versioned` in the version's folder.

    Values are contents, or the path of a file to copy. `digests`: those that files of the version must have once they are
    written, if the manifest has them.
    """

    name: str
    config: str
    shared: Mapping[str, bytes]
    versioned: Mapping[str, bytes | Path]
    digests: Mapping[str, str] = field(default_factory=dict)
