"""The differences between graphs that answer in one call and those that generate token by token: a row for each kind.

`export/pipeline.py` itself calls the stages that all graphs share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import Tolerance

from ..core.types import Checkpoint, Graph, ParityCheck, StoredGraph
from ..errors import ExportError
from ..graph.tracing.decoder import export_decoder
from ..graph.tracing.encoder import export_graph
from ..tasks.base import Endpoint
from ..triton_models.preprocessor import Preprocessor
from .baseline import record_baseline, tolerances_of
from .checks import ParityInputs, checks_of, measure_call_overhead
from .decoder_baseline import record_texts, token_tolerances
from .decoder_checks import checks_of_texts


@dataclass(frozen=True)
class GraphKind:
    """The stages of one kind of graph. `record_baseline` has the parameters of `baseline.record_baseline`; `tolerances` returns
    the tolerances of a precision. `measure_call_overhead` is None if serving needs no such measurement."""

    record_baseline: Callable[..., Baseline]
    tolerances: Callable[[Checkpoint, Endpoint, str], Mapping[str, Tolerance]]
    export_graph: Callable[[Checkpoint, Endpoint, str, int], Graph]
    checks_of: Callable[[StoredGraph, ParityInputs], Iterator[ParityCheck]]
    measure_call_overhead: Callable[[StoredGraph, Baseline, Preprocessor, int, bool], int] | None


def _export_decoder(checkpoint: Checkpoint, endpoint: Endpoint, attention: str, opset: int) -> Graph:
    spec = checkpoint.family.decoder
    if spec is None:
        raise ExportError(f"{checkpoint.family.name} models do not generate")
    model: Any = checkpoint.model  # one of transformers' for causal language models
    return export_decoder(model, spec, attention, opset)


GRAPH_KINDS = {
    "encoder": GraphKind(record_baseline, tolerances_of, export_graph, checks_of, measure_call_overhead),
    "decoder": GraphKind(record_texts, token_tolerances, _export_decoder, checks_of_texts, None),
}
