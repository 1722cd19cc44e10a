"""Layers that hurt int8 are left out: the fewest that let parity pass, on a trained model with a tolerance that all fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.checkpoint.source import find_source
from hf2triton.core.options import ExportOptions
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import store, unload
from hf2triton.graph.tracing.encoder import export_graph
from hf2triton.parity.baseline import record_baseline
from hf2triton.parity.calibration_inputs import calibration_of
from hf2triton.parity.checks import ParityInputs, checks_of
from hf2triton.parity.precision_search import FOUND, calibrate, plan_precision, prepare, search_plan
from hf2triton_client.evaluation.compare import Tolerance

from ...conftest import asset

#: Between what int8 gives with all layers (0.2) and with none (1e-5).
STRICT = Tolerance(max_abs=0.12, mean_abs=0.05, cosine=0.99, argmax=0.9)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The plan that was found, and whether a plan passes."""
    folder = tmp_path_factory.mktemp("search")
    source = asset("bert", "token-classification")
    checkpoint = load_checkpoint(find_source(str(source)), None)
    [endpoint] = checkpoint.task.endpoints
    baseline = record_baseline(checkpoint, endpoint, "int8")
    baseline = replace(baseline, tolerances={"logits": STRICT})
    graph = unload(fit(clean(export_graph(checkpoint, endpoint, "fused", OPSET)), None), folder)
    options = ExportOptions(str(source), "m", precision="int8")
    calibration = calibration_of(checkpoint, endpoint, graph, baseline, None)
    graph = prepare(graph, options, calibration, folder)
    ranges = calibrate(graph, options, calibration, folder)
    asked = ParityInputs(baseline, preprocessor_of(checkpoint, endpoint), calibration)

    def passes(plan: PrecisionPlan) -> bool:
        return all(check.difference.passed for check in checks_of(store(graph, plan, folder), asked))

    plan = plan_precision(graph, options, calibration, ranges)
    return plan, search_plan(graph, plan, ranges, lambda stored: checks_of(stored, asked), folder), passes


def test_few_layers_are_left_out(searched):
    """Parity fails with all layers in int8 and passes with those that were found in fp32, which are not most."""
    plan, found, passes = searched
    assert not passes(plan)
    assert passes(found)
    assert found.origin == "searched"
    assert 0 < len(found.fp32_nodes) < found.nodes / 2
    assert {fp32_node.reason for fp32_node in found.fp32_nodes} == {FOUND}
    assert all(fp32_node.extra_bytes > 0 for fp32_node in found.fp32_nodes)


def test_none_of_them_can_be_spared(searched):
    """Whichever of them becomes int8 as well, parity fails."""
    _, found, passes = searched
    for fp32_node in found.fp32_nodes:
        fp32_nodes = tuple(other for other in found.fp32_nodes if other != fp32_node)
        assert not passes(replace(found, fp32_nodes=fp32_nodes)), fp32_node.node
