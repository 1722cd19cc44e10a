"""Checkpoints that must overflow in fp16, made of trained ones: plain fp16 fails, ours passes and keeps little in fp32."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer, CLIPModel
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.checkpoint.image_processor import reference_pixels
from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.checkpoint.sample_inputs import images
from hf2triton.checkpoint.source import find_source
from hf2triton.core.options import ExportOptions
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.errors import ParityError
from hf2triton.export.pipeline import export
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import store
from hf2triton.graph.tracing.encoder import export_graph
from hf2triton.parity.baseline import record_baseline
from hf2triton.parity.calibration_inputs import Calibration
from hf2triton.parity.checks import ParityInputs, checks_of
from hf2triton.parity.local_runner import open_version
from hf2triton_client.transport.served_model import PARAMETER

from ...support import ASSETS

TWIN = "rounded to fp16: "
WORDS = ["a coat", "a bag", "a sneaker"]


def scaled(factor, *names):
    """Multiplies weights whose names end so."""

    def edit(weights):
        found = [name for name in weights if name.endswith(names)]
        assert len(found) >= len(names)
        for name in found:
            weights[name] *= np.float32(factor)

    return edit


def both(*edits):
    def edit(weights):
        for one in edits:
            one(weights)

    return edit


def far_below_zero(weights):
    """Gives each score of the first layer's attention −60,025 for all keys alike, which softmax does not see: the first number
    of each head's queries becomes 490, and −490 of its keys. The mask's −10,000 comes on top."""
    for name, value in (("query", 490), ("key", -490)):
        prefix = f"bert.encoder.layer.0.attention.self.{name}"
        weights[f"{prefix}.weight"][::16] = 0
        weights[f"{prefix}.bias"][::16] = value


def shifted_logits(weights):
    """Adds to each logit 70,000, which softmax does not see."""
    weights["cls.predictions.bias"] += np.float32(70_000)


def checkpoint_of(name, edit, folder):
    """A copy of a trained checkpoint with edited weights."""
    copy = Path(shutil.copytree(ASSETS / name, folder / "checkpoint"))
    # some are kept in fp16, which would overflow here already
    weights = {name: array.astype(np.float32) for name, array in load_file(copy / "model.safetensors").items()}
    edit(weights)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


def exported(source, folder, plain=False, **options):
    """The report of an export; `plain`: with a plan that keeps nothing but what is kept by design."""
    if plain:
        options["precision_plan"] = folder / "plain.json"
        options["precision_plan"].write_text(json.dumps(PrecisionPlan("fp16").to_json()))
    return export(ExportOptions(str(source), "m", repository=folder / "repository", dry_run=True, **options))


def broken(report):
    """The checks of the twin that met a NaN or an infinity."""
    return [
        check.name.removeprefix(TWIN)
        for check in report.checks
        if check.name.startswith(TWIN) and any("NaN or an infinity" in breach for breach in check.difference.breaches)
    ]


#: (checkpoint, edit, options, the largest share of nodes that may stay fp32)
CASES = [
    pytest.param("bert-sentiment", scaled(1e5, "layer.0.output.dense.weight"), {}, 0.1, id="bert"),
    pytest.param(
        "bert-sentiment",
        scaled(1e6, "layer.0.output.dense.weight"),
        {},
        0.1,
        id="bert far beyond",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "bert-sentiment",
        scaled(1e6, "1.attention.output.dense.weight"),
        {},
        0.1,
        id="bert attention",
        marks=pytest.mark.slow,
    ),
    pytest.param("bert-ner", scaled(1e6, "layer.1.output.dense.weight"), {}, 0.1, id="bert tokens"),
    pytest.param(
        "distilbert-sentiment", scaled(1e6, "layer.0.ffn.lin2.weight"), {}, 0.1, id="distilbert", marks=pytest.mark.slow
    ),
    pytest.param("vit-fashion", scaled(1e5, "layer.1.output.dense.weight"), {}, 0.4, id="vit residuals"),
    pytest.param(
        "clip-fashion", scaled(1e6, "text_projection.weight"), {}, 0.2, id="clip text", marks=pytest.mark.slow
    ),
    pytest.param(
        "clip-fashion", scaled(1e6, "visual_projection.weight"), {}, 0.2, id="clip image", marks=pytest.mark.slow
    ),
    pytest.param("deberta-v2-sentiment", scaled(1e5, "layer.0.output.dense.weight"), {}, 0.2, id="deberta"),
    pytest.param(
        "deberta-v2-sentiment",
        scaled(400, "layer.0.attention.self.query_proj.weight", "layer.0.attention.self.key_proj.weight"),
        {},
        0.2,
        id="deberta positions",
        marks=pytest.mark.slow,
    ),
    pytest.param("modernbert-mlm", scaled(1e5, "layers.1.mlp.Wo.weight"), {}, 0.4, id="modernbert residuals"),
    pytest.param(
        "mpnet-sentiment",
        scaled(1e6, "layer.0.output.dense.weight"),
        {"attention": "standard"},
        0.1,
        id="mpnet",
        marks=pytest.mark.slow,
    ),
    pytest.param("bert-mlm", shifted_logits, {}, 0.1, id="fill-mask logits", marks=pytest.mark.slow),
    pytest.param("bert-sentiment", far_below_zero, {"attention": "standard"}, 0.2, id="softmax of masked rows"),
    pytest.param(
        "gpt2-verses",
        both(scaled(1e5, "h.1.mlp.c_fc.weight"), scaled(1e-3, "h.1.mlp.c_proj.weight")),
        {},
        0.25,
        id="gpt2 gelu",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "edit", "options", "share"), CASES)
def test_what_must_overflow_is_kept(tmp_path, name, edit, options, share):
    """Plain fp16 gives NaN or infinity on the twin that rounds as a GPU does; ours passes with few nodes in fp32."""
    source = checkpoint_of(name, edit, tmp_path)
    with pytest.raises(ParityError) as raised:
        exported(source, tmp_path, plain=True, **options)
    assert broken(raised.value.report)
    report = exported(source, tmp_path, **options)
    for frontend, plan in report.plans.items():
        assert report.parity[frontend].passed
        assert any(check.name.startswith(TWIN) for check in report.parity[frontend].checks)
        assert plan.origin == "calibrated"
        assert 0 < len(plan.fp32_nodes) <= share * plan.nodes


def test_a_row_that_is_wholly_masked(tmp_path):
    """Scores that the mask pushes below fp16's end for every key make NaN of a softmax, which the checks at the edge find."""
    source = checkpoint_of("bert-sentiment", far_below_zero, tmp_path)
    with pytest.raises(ParityError) as raised:
        exported(source, tmp_path, plain=True, attention="standard")
    assert broken(raised.value.report) == ["a row that is wholly masked"]
    [plan] = exported(source, tmp_path, attention="standard").plans.values()
    assert [fp32_node.op_type for fp32_node in plan.fp32_nodes] == ["MatMul", "Add", "Softmax"]


@pytest.mark.parametrize(("factor", "count"), [pytest.param(2e2, 0, marks=pytest.mark.slow), (2e3, 4)])
def test_normalisation_of_values_whose_squares_overflow(tmp_path, factor, count):
    """States of thousands, whose squares fp16 cannot hold, are normalised in one op that adds up in fp32 anywhere: nothing is
    kept for that. Only what comes near fp16's end is, since other inputs may reach beyond."""
    source = checkpoint_of("bert-sentiment", scaled(factor, "layer.0.output.dense.weight"), tmp_path)
    assert exported(source, tmp_path, plain=True).parity["m"].passed
    report = exported(source, tmp_path)
    assert report.parity["m"].passed
    assert len(report.plans["m"].fp32_nodes) == count


def test_the_cube_in_gelu(tmp_path):
    """GPT-2's GELU takes the cube of what it reads, which overflows from 40 on: what holds it is kept, tanh included, though
    that would have forgiven an infinity."""
    edits = both(scaled(30, "h.1.mlp.c_fc.weight"), scaled(1 / 30, "h.1.mlp.c_proj.weight"))
    report = exported(checkpoint_of("gpt2-verses", edits, tmp_path), tmp_path)
    [plan] = report.plans.values()
    assert report.parity["m"].passed
    assert {"Pow", "Tanh"} <= {fp32_node.op_type for fp32_node in plan.fp32_nodes}
    assert all(fp32_node.node.startswith("transformer.h.1.mlp.act/") for fp32_node in plan.fp32_nodes)
    assert plan.extra_bytes < 100


@pytest.mark.parametrize("index", [pytest.param(0, marks=pytest.mark.slow), 1], ids=["text", "image"])
def test_squares_of_embeddings(tmp_path, index):
    """CLIP's embeddings are divided by the root of the sum of their squares, which overflows long before they do: without what
    is kept by design the twin gives zeros or NaN, with it plain fp16 is right."""
    edit = scaled(1e3, "text_projection.weight", "visual_projection.weight")
    source = checkpoint_of("clip-fashion", edit, tmp_path)
    checkpoint = load_checkpoint(find_source(str(source)), None)
    endpoint = checkpoint.task.endpoints[index]
    baseline = record_baseline(checkpoint, endpoint, "fp16")
    graph = fit(clean(export_graph(checkpoint, endpoint, "fused", OPSET)), None)
    inputs = ParityInputs(baseline, preprocessor_of(checkpoint, endpoint), Calibration((), "nothing"))

    def failed(graph):
        stored = store(graph, PrecisionPlan("fp16"), tmp_path)
        return [check for check in checks_of(stored, inputs) if not check.difference.passed]

    assert failed(graph) == []
    broken = failed(replace(graph, full_precision=frozenset()))
    assert any("values are 0 where PyTorch's are not" in one for check in broken for one in check.difference.breaches)


@pytest.mark.slow
def test_a_logit_scale_beyond_fp16(tmp_path):
    """CLIP's logit scale is no part of the graphs: one of 162,755 travels beside them, and logits are what PyTorch gives."""

    def edit(weights):
        weights["logit_scale"] = np.array(12, np.float32)

    source = checkpoint_of("clip-fashion", edit, tmp_path)
    entry = export(ExportOptions(str(source), "m", repository=tmp_path / "repository")).entry
    answered = {}
    for path, name, asked in (("m_text", "text", WORDS), ("m_image", "image", images()[:3])):
        ask = open_version(tmp_path / "repository" / path / "1")
        answered[name] = np.concatenate([ask({name: one})[0][0] for one in asked])
    config = text_format.Parse((entry.paths[0] / "config.pbtxt").read_text(), pb.ModelConfig())
    scale = json.loads(config.parameters[PARAMETER].string_value)["logit_scale"]
    assert scale == pytest.approx(np.exp(12))
    model, tokenizer = (
        CLIPModel.from_pretrained(source, dtype=torch.float32).eval(),
        AutoTokenizer.from_pretrained(source),
    )
    pixels = torch.from_numpy(np.stack(reference_pixels(source, images()[:3])))
    with torch.inference_mode():
        expected = model(
            **tokenizer(WORDS, padding=True, return_tensors="pt"), pixel_values=pixels
        ).logits_per_image.numpy()
    assert np.abs(expected).max() > 65504 / 4
    np.testing.assert_allclose(scale * answered["image"] @ answered["text"].T, expected, rtol=0, atol=2e-3 * scale)
