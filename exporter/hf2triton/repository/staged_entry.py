"""An entry before it is written: what each of its frontends is made of."""

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
    """One frontend of an entry before it has a version. `call_price`: what one more call costs, in tokens; None where the
    frontend has no calls to plan. `memory`: what it takes of a GPU; None on a CPU. `more`: further files of its version."""

    options: ResolvedOptions
    checkpoint: Checkpoint
    endpoint: Endpoint
    stored: StoredGraph
    parity: ParityReport
    baseline: Baseline
    call_price: int | None
    memory: MemoryEstimate | None = None
    more: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the frontend."""
        return frontend_name(self.options.name, self.endpoint)

    @property
    def max_batch_size(self) -> int:
        """The largest batch that is served: the one asked for, or as much as fits the GPU."""
        return self.options.max_batch_size if self.memory is None else self.memory.max_batch_size


@dataclass(frozen=True)
class FrontendFiles:
    """What makes a frontend of one version. `config`: its config.pbtxt. `code`: file of the entry -> file among the frontends.
    `settings`: what the code reads at its start. `warmup`: the files that Triton warms it up with. `more`: other files of the
    version. `graph_config` and `graph_warmup`: of the model that holds the graph, where that is another one."""

    config: pb.ModelConfig
    code: Mapping[str, str]
    settings: FrontendSettings
    warmup: Mapping[str, bytes] = field(default_factory=dict)
    more: Mapping[str, bytes] = field(default_factory=dict)
    graph_config: pb.ModelConfig | None = None
    graph_warmup: Mapping[str, bytes] = field(default_factory=dict)


def python_files(*folder: str) -> list[str]:
    """The names of the Python files among the frontends, or in a folder there."""
    files = resources.files("hf2triton.triton_models").joinpath(*folder).iterdir()
    return sorted(path.name for path in files if path.name.endswith(".py"))


@dataclass(frozen=True)
class ModelFiles:
    """One model folder to be written: `shared` beside config.pbtxt, `versioned` in the version's folder.

    Values are contents, or the path of a file to copy. `digests`: what files of the version must have once they are written,
    where the manifest says so.
    """

    name: str
    config: str
    shared: Mapping[str, bytes]
    versioned: Mapping[str, bytes | Path]
    digests: Mapping[str, str] = field(default_factory=dict)
