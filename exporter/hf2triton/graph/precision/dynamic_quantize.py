"""fp32 graph → graph whose MatMuls and Gemms multiply in int8, converted by onnxruntime's quantizer.

Weights are int8 with a scale for each column. States become uint8 in each call, with one scale for the whole tensor
(`DynamicQuantizeLinear` and `MatMulInteger`, standard ONNX ops that onnxruntime fuses when it loads the graph). An answer
therefore depends slightly on the rest of its batch; parity measures by how much. Embeddings and products of states with states,
such as attention, stay fp32.

On x86 without VNNI, sums of uint8 times int8 saturate unless the session sets `session.x64quantprecision`
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html), as the frontend's session does.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from ...core.types import Graph

OPS = ("MatMul", "Gemm")


def quantize_products(graph: Graph) -> Graph:
    """Quantizes all products with constants except those named in `graph.full_precision`."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="hf2triton-") as folder:
        full, quantized = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        ir.save(graph.model, full, external_data="fp32.data")
        with _quiet():
            quantize_dynamic(
                full,
                quantized,
                op_types_to_quantize=list(OPS),
                # the quantizer first turns Gemms into MatMuls, with this suffix
                nodes_to_exclude=sorted(name + more for name in graph.full_precision for more in ("", "_MatMul")),
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
            )
        model = ir.external_data.load_to_model(ir.load(quantized))
    model.ir_version, model.producer_name, model.producer_version = graph.model.ir_version, "hf2triton", None
    return replace(graph, model=model, precision="int8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps out of users' logs the quantizer's advice to run a step that is not needed here."""
    root = logging.getLogger()

    def other(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(other)
    try:
        yield
    finally:
        root.removeFilter(other)
