"""Parity of a decoder finds whatever is wrong with its graph, however little, and ends the export."""

import json
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.cli import main
from hf2triton.core.options import ExportOptions
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.errors import ExportError, ParityError
from hf2triton.export.pipeline import export
from hf2triton.families import FAMILIES
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import store
from hf2triton.graph.tracing.decoder import export_decoder
from hf2triton.parity.calibration_inputs import Calibration
from hf2triton.parity.checks import ParityInputs, report_of, require_parity
from hf2triton.parity.decoder_baseline import NEW_TOKENS
from hf2triton.parity.decoder_checks import LAYOUTS, checks_of_texts

from ..verses import make_tiny

WHOLE, TOGETHER, PIECES, GREEDY = ("whole texts, one a call", *(name for name, _, _ in LAYOUTS), "greedy texts")


def fewer(baseline, count=4):
    """The baseline's first items."""
    answers = {name: arrays[:count] for name, arrays in baseline.answers.items()}
    return replace(baseline, inputs={name: texts[:count] for name, texts in baseline.inputs.items()}, answers=answers)


@pytest.fixture(scope="module")
def measured(verses, baseline, tmp_path_factory):
    """Measures the exported graph after a change of it: all texts, or the first four."""
    exported = fit(clean(export_decoder(verses[0].model, FAMILIES["gpt2"].decoder, "fused", OPSET)), None)

    def measure(change=lambda graph: None, precision="fp32", all_texts=False, **stored_as):
        graph = replace(exported, model=exported.model.clone())
        change(graph.model.graph)
        stored = replace(store(graph, PrecisionPlan(precision), tmp_path_factory.mktemp("graph")), **stored_as)
        tolerance = verses[1].outputs[0].tolerances[precision]
        asked = replace(baseline, tolerances=dict.fromkeys(baseline.tolerances, tolerance))
        inputs = ParityInputs(
            asked if all_texts else fewer(asked), preprocessor_of(*verses), Calibration((), "nothing")
        )
        return report_of(stored, checks_of_texts(stored, inputs))

    return measure


def failed(report):
    return [check.name for check in report.checks if not check.difference.passed]


def test_the_exported_graph_passes(measured):
    """Every way of running it is measured, on all positions of eight real texts and one of its own tokens, and agrees."""
    report = require_parity(measured(all_texts=True))
    assert [check.name for check in report.checks] == [WHOLE, TOGETHER, PIECES, GREEDY]
    assert max(check.difference.max_abs for check in report.checks) < 1e-4
    assert [check.difference.rows for check in report.checks[1:]] == [9 * NEW_TOKENS, 9 * NEW_TOKENS, 9]
    assert all(check.difference.argmax == 1 for check in report.checks)


def test_an_older_onnxruntime_than_the_graph_needs_is_refused(measured):
    """It might give other answers, which would look like a fault of the graph."""
    with pytest.raises(
        ExportError, match=r"needs onnxruntime 99\.1 or newer.*: upgrade it, or use --attention standard"
    ):
        measured(first_onnxruntime="99.1")


def test_an_fp16_graph_is_measured_as_a_gpu_rounds_and_as_it_is(measured):
    """Both pass for a sound model, and neither is exact."""
    report = require_parity(measured(precision="fp16", all_texts=True))
    names = [WHOLE, TOGETHER, PIECES, GREEDY]
    assert [check.name for check in report.checks] == [
        prefix + name for prefix in ("rounded to fp16: ", "as served: ") for name in names
    ]
    for check in report.checks:
        assert check.name.endswith(GREEDY) or 1e-5 < check.difference.max_abs < 0.2


def weight(name, edit):
    """Changes the values of an initializer in place of a copy."""

    def change(graph):
        value = graph.initializers[name]
        array = value.const_value.numpy().copy()
        edit(array)
        value.const_value = ir.Tensor(array, name=name)

    return change


def one_entry(array):
    array[3, 5] += 0.1


def scaled(array):
    array *= 1.01


def one_position_late(array):
    array[:] = np.roll(array, 1, axis=0)


def attention(edit):
    """Changes the attention node of the last layer."""

    def change(graph):
        edit([node for node in graph if node.op_type == "GroupQueryAttention"][-1])

    return change


def unscaled(node):
    node.attributes["scale"] = ir.AttrFloat32("scale", 1.0)


def nearly_scaled(node):
    node.attributes["scale"] = ir.AttrFloat32("scale", node.attributes["scale"].value * 1.02)


def forgetful(node):
    """Attends to the last 64 tokens alone."""
    node.attributes["local_window_size"] = ir.AttrInt64("local_window_size", 64)


def swapped_state(graph):
    """Two layers write each other's keys."""
    outputs = {value.name: value for value in graph.outputs}
    first, second = outputs["present.0.key"], outputs["present.1.key"]
    first.name, second.name = "swapped", "present.0.key"
    first.name = "present.1.key"


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        pytest.param(weight("model.transformer.h.1.mlp.c_fc.weight", one_entry), (), id="one entry"),
        pytest.param(weight("model.transformer.h.3.attn.c_proj.weight", scaled), (), id="one matrix"),
        pytest.param(weight("model.transformer.wpe.weight", one_position_late), (), id="positions"),
        pytest.param(attention(unscaled), (), id="no scale"),
        pytest.param(attention(nearly_scaled), (), id="another scale"),
        pytest.param(attention(forgetful), (), id="a window"),
        pytest.param(swapped_state, (WHOLE,), id="swapped state"),
    ],
)
def test_a_wrong_graph_fails(measured, change, passes):
    """Whatever is wrong, however little: exit code 3. What goes wrong between calls shows although single calls are right."""
    report = measured(change)
    assert {WHOLE, TOGETHER, PIECES} - set(passes) <= set(failed(report))
    assert not set(passes) & set(failed(report))
    with pytest.raises(ParityError, match="the exported model is not the trained one") as raised:
        require_parity(report)
    assert (raised.value.exit_code, raised.value.report) == (3, report)


def test_a_greedy_text_that_goes_another_way_fails(measured, baseline):
    """Also where logits are not asked: the texts' own check finds a token that PyTorch would not have chosen."""
    report = measured(attention(unscaled))
    assert GREEDY in failed(report)
    [check] = [check for check in report.checks if check.name == GREEDY]
    assert check.difference.argmax < 1
    assert "is another from token" in check.difference.remark


def overflowing(array):
    """Products beyond 65,504 from weights within."""
    array *= 3e4 / np.abs(array).max()


def test_an_fp16_graph_that_overflows_fails(measured):
    """Its weights fit into fp16, its products do not: fp32 agrees with itself, the twin shows what a GPU would give."""
    report = measured(weight("model.transformer.h.2.mlp.c_fc.weight", overflowing), "fp16")
    twin = [check.difference for check in report.checks if check.name == f"rounded to fp16: {WHOLE}"]
    assert any("NaN or an infinity" in breach for difference in twin for breach in difference.breaches)


def test_a_short_context_and_a_large_vocabulary_are_proved(tmp_path):
    """A model with fewer positions than are generated elsewhere, and logits for tokens that its tokenizer lacks; its cache is
    copied, not bound."""
    options = ExportOptions(
        str(make_tiny(tmp_path / "tiny", 24, 2048)), "tiny", precision="fp32", attention="standard", dry_run=True
    )
    report = export(options).parity["tiny"]
    assert report.passed
    assert [check.difference.rows for check in report.checks[1:]] == [9 * 12, 9 * 12, 9]


def test_an_fp16_overflow_ends_a_plain_conversion(tmp_path):
    """A plan without fp32 nodes: exit code 3, the report says where, and nothing is written. Calibration finds the fp32 nodes."""
    folder, report = make_tiny(tmp_path / "tiny", 24), tmp_path / "report.json"
    weights = load_file(folder / "model.safetensors")
    overflowing(weights["transformer.h.0.mlp.c_fc.weight"])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    command = ["export", str(folder), "--name", "m", "--repository", str(tmp_path / "r"), "--report", str(report)]
    (tmp_path / "plain.json").write_text(json.dumps(PrecisionPlan("fp16").to_json()))
    result = CliRunner().invoke(main, [*command, "--precision-plan", str(tmp_path / "plain.json")])
    assert result.exit_code == 3, result.output
    assert "require parity: the exported model is not the trained one: rounded to fp16: " in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert "text 0 (" in line, "the input is named"
    assert "Leave out --precision-plan" in line, "what was asked for is not the advice"
    assert json.loads(report.read_text())["parity"]["passed"] is False
    assert not (tmp_path / "r").exists()
    assert CliRunner().invoke(main, command).exit_code == 0
    plan = json.loads(report.read_text())["precision_plans"]["m"]
    assert 0 < len(plan["islands"]) < plan["nodes"] / 2
