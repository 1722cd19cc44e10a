"""The frozen dataclasses that travel along the stages of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf2triton_client.evaluation.compare import Difference

from ..families import Family
from ..tasks.base import Output, Task
from .manifest import Manifest
from .options import ResolvedOptions
from .precision_plan import PrecisionPlan
from .source import Source

if TYPE_CHECKING:
    import onnx_ir
    import torch

    from .embedding import SentenceFolder
    from .ranking import CrossEncoderFolder


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as the frontend loads it: `definition` is the text of a tokenizer.json, without padding or truncation.

    `config`: the text of a tokenizer_config.json, for other runtimes of a model that generates. `clean_up`: decoded text is
    cleaned up as transformers does for this tokenizer. `truncation_side`: "right" or "left". `type_ids`: the model receives
    token types that distinguish the two texts of a pair. `special_ids`: the ids of all special tokens, used around texts or not.
    `padding_side`: "right" or "left". `masks`: the model receives an attention mask.
    """

    definition: str
    config: str | None
    pad_token_id: int
    cls_token_id: int | None
    unk_token: str | None
    mask_token: str | None
    decoder: Mapping[str, Any] | None
    clean_up: bool
    truncation_side: str
    type_ids: bool
    special_ids: tuple[int, ...] = ()
    padding_side: str = "right"
    masks: bool = True


@dataclass(frozen=True)
class LabelSimilarity:
    """How the scores of labels follow from the cosines of their embeddings and an image's: `function` ("softmax" over all labels,
    or "sigmoid" for each) of `scale` · cosine + `bias`."""

    scale: float
    bias: float
    function: str


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model in fp32 and evaluation mode, what prepares its inputs, and what its files say about its use.

    `tokenizer` and `max_length` (the maximum number of tokens, including special ones) are None if no frontend reads text.
    `image` is None if none reads images; otherwise it has `spec` (see `image_processor.read_image_spec`), `shape` of the
    pixels, and the number of `tokens` that an image becomes. `outputs`: suffix of each part -> the outputs that the checkpoint
    has weights for. `sentences`: how texts become embeddings, if that is the task. `ranking`: how pairs are scored, if that is
    the task. `id2label` is empty if there are no labels. `generation`: the settings in the generation config, if the task
    generates. `similarity`: how the scores of labels follow from embeddings, if they do.
    `missing`: names of parameters that are random until an adapter supplies them. `adapter`: what was merged, for the manifest.
    """

    source: Source
    family: Family
    task: Task
    model: torch.nn.Module
    tokenizer: Tokenizer | None
    max_length: int | None
    image: Mapping[str, Any] | None
    outputs: Mapping[str, tuple[Output, ...]]
    sentences: SentenceFolder | None
    id2label: Mapping[int, str]
    problem_type: str | None
    ranking: CrossEncoderFolder | None = None
    generation: Mapping[str, Any] | None = None
    similarity: LabelSimilarity | None = None
    missing: frozenset[str] = frozenset()
    adapter: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph: its ONNX type ("INT64", "FLOAT") and its dimensions; free ones are names."""

    name: str
    dtype: str
    dims: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphOutput:
    """An fp32 output of a graph, `[batch, *dims]` if `per` is "row", `[batch, tokens or masks, *dims]` otherwise."""

    name: str
    per: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX model on its way through the passes. `full_precision`: names of nodes that stay fp32 when the rest becomes
    fp16. `state`: input -> the output that is its value in the next call; both have the graph's precision, and are not among
    `outputs`. `shares_buffer`: both may use the same memory."""

    model: onnx_ir.Model
    inputs: tuple[GraphInput, ...]
    outputs: tuple[GraphOutput, ...]
    attention: str
    precision: str = "fp32"
    full_precision: frozenset[str] = frozenset()
    state: Mapping[str, str] = field(default_factory=dict)
    shares_buffer: bool = False


@dataclass(frozen=True)
class NodeRange:
    """The values of a node of an fp32 graph over all calibration inputs, including padding.

    `peak`: the largest magnitude. `rms`: the root mean square. `error`: how far the node, alone in fp16, was from fp32, as a
    fraction of `rms`; infinite if it returned NaN or infinity. `scores`: for attention, the upper bound of its scores, from the
    lengths of queries and keys; 0 for other nodes.
    """

    peak: float
    rms: float
    error: float
    scores: float = 0.0

    def to_json(self) -> dict[str, float | None]:
        """The fields. Infinity becomes null, as JSON has none."""
        return {name: value if isfinite(value) else None for name, value in asdict(self).items()}


@dataclass(frozen=True)
class StoredGraph:
    """A graph on disk, in the precision of its `plan`. `graph`: its description, without weights. `files`: place in a version's
    folder -> file, first that of the graph, then those of weights beside it. `twin`: lies beside an fp16 graph and computes in
    fp32 what fp16 rounds to. `weight_bytes`: size of all its initializers; `fp32_weight_bytes`: before the conversion.
    `first_release` and `first_onnxruntime`: the oldest Triton and the oldest onnxruntime that load it."""

    graph: Graph
    files: Mapping[str, Path]
    twin: Path
    plan: PrecisionPlan
    weight_bytes: int
    fp32_weight_bytes: int
    first_release: str
    first_onnxruntime: str

    @property
    def place(self) -> str:
        """Where the graph lies in a version's folder."""
        return next(iter(self.files))

    @property
    def path(self) -> Path:
        return self.files[self.place]

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
    """All checks of one graph. `weight_bytes`: the size of its weights; `fp32_weight_bytes`: their size before the conversion."""

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
class RepositoryEntry:
    """What an export added to a repository. `paths`: the folders of the frontends and, with the runner bls, of the graphs.

    `manifests`: frontend -> its manifest.
    """

    version: int
    paths: tuple[Path, ...]
    manifests: Mapping[str, Manifest]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each GPU. These are for one instance: `weights`, `activations` (of the largest call), `kept` (between calls: the
    decoder's cache, or TensorRT's workspace) and `arena` (what the arena holds beyond the largest call)."""

    gpu: int
    context: int
    instances: int
    weights: int
    activations: int
    arena: int
    kept: int
    max_batch_size: int

    @property
    def instance(self) -> int:
        return self.weights + self.activations + self.arena + self.kept

    @property
    def total(self) -> int:
        return self.context + self.instances * self.instance

    @property
    def limit(self) -> int:
        """How much one instance may take: its share of the GPU."""
        return (self.gpu - self.context) // self.instances

    def to_json(self) -> dict[str, int]:
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True)
class ExportReport:
    """The result of an export. By frontend: `parity`, `plans`, `ranges` (of nodes, if they were measured) and `memory` (the
    estimate for a GPU). `entry` is None after a dry run. `seconds`: stage -> its time."""

    options: ResolvedOptions
    task: str
    family: str
    parity: Mapping[str, ParityReport]
    plans: Mapping[str, PrecisionPlan]
    ranges: Mapping[str, Mapping[str, NodeRange]]
    entry: RepositoryEntry | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, MemoryEstimate] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        entry = self.entry
        return {
            "name": self.options.name,
            "version": entry.version if entry else None,
            "paths": [str(path) for path in entry.paths] if entry else [],
            "seconds": dict(self.seconds),
            "parity": {name: report.to_json() for name, report in self.parity.items()},
            "memory": {name: estimate.to_json() for name, estimate in self.memory.items()},
            "precision_plans": {name: plan.to_json() for name, plan in self.plans.items()},
            "ranges": {
                name: {node: found.to_json() for node, found in own.items()} for name, own in self.ranges.items()
            },
            "manifests": {name: manifest.to_json() for name, manifest in entry.manifests.items()} if entry else {},
        }
