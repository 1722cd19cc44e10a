"""Rows at the edge of what a graph takes: sound graphs pass, and each check fails for the fault that it is there for."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import items_of, preprocessor_of
from hf2triton.checkpoint.sample_inputs import parity_inputs
from hf2triton.checkpoint.source import find_source
from hf2triton.core.types import Graph, GraphOutput
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.precision.conversion import rounded_twin, with_precision
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.encoder import export_graph
from hf2triton.parity.edge_cases import edge_checks

from ...conftest import asset
from ..graph.tiny import session_of

ONE, TWO = (f"a row of {count}, alone, beside the longest, and again" for count in ("1 token", "2 tokens"))
MASKED, BESIDE = "a row that is wholly masked", "the longest row beside one that is wholly masked"
ALL = [ONE, TWO, MASKED, BESIDE]


class Exported:
    """A trained checkpoint's graph, its longest row, and what the checks say of it after a change."""

    def __init__(self, family, task, folder, attention="fused"):
        checkpoint = load_checkpoint(find_source(str(asset(family, task))), task)
        endpoint = checkpoint.task.endpoints[0]
        preprocessor = preprocessor_of(checkpoint, endpoint)
        rows = [row for item in items_of(preprocessor, parity_inputs(checkpoint, endpoint)) for row in item.rows]
        self.longest = preprocessor.feeds([max(rows, key=preprocessor.length)])
        self.tolerances = {output.name: output.tolerances for output in endpoint.outputs}
        self.graph = fit(clean(export_graph(checkpoint, endpoint, attention, OPSET)), None)
        self.folder = folder

    def checks(self, change=lambda graph: None, precision="fp32", prefix=""):
        graph = replace(self.graph, model=self.graph.model.clone())
        change(graph.model.graph)
        graph = with_precision(graph, precision)
        save_graph(rounded_twin(graph.model) if precision == "fp16" else graph.model, self.folder / "graph.onnx")
        tolerances = {name: own[precision] for name, own in self.tolerances.items()}
        session = session_of(self.folder / "graph.onnx")
        return list(edge_checks(session, graph, self.longest, tolerances, prefix))

    def failed(self, change):
        return [check.name for check in self.checks(change) if not check.difference.passed]


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory):
    """BERT with standard attention, whose mask is plain arithmetic."""
    return Exported("bert", "text-classification", tmp_path_factory.mktemp("sentiment"), "standard")


@pytest.mark.parametrize("attention", ["fused", "fused-any-mask", "standard"])
@pytest.mark.parametrize("task", ["text-classification", "token-classification", "fill-mask"])
def test_sound_graphs_pass(tmp_path, task, attention):
    """Outputs per row, per token and per mask, whatever the form of the mask: every check is made, and passes."""
    checks = Exported("bert", task, tmp_path, attention).checks()
    assert [check.name for check in checks] == ALL
    assert all(check.difference.passed for check in checks)
    for check in checks:
        if check.name != MASKED:
            assert check.difference.max_abs < 1e-4
            assert check.difference.rows > 0
        assert check.difference.output == "logits"


def test_the_longest_row_is_as_long_as_the_model_allows(sentiment):
    """What short rows stand beside has all of the checkpoint's 128 positions."""
    assert sentiment.longest["input_ids"].shape == (1, 128)
    assert sentiment.longest["attention_mask"].all()


def test_an_fp16_graph_passes_with_its_own_tolerance(sentiment):
    """On the rounded twin too, with a prefix that says so."""
    checks = sentiment.checks(precision="fp16", prefix="rounded to fp16: ")
    assert [check.name for check in checks] == [f"rounded to fp16: {name}" for name in ALL]
    assert all(check.difference.passed for check in checks)


def test_images_have_no_such_rows():
    """A graph whose rows all have one length is not run at all."""
    graph = Graph(None, (), (GraphOutput("logits", "row", (10,)),), "fused")
    assert list(edge_checks(None, graph, {}, {})) == []


def insert(graph, node, kind, inputs, **attributes):
    """A new node behind another one; gives its output."""
    values = [value if isinstance(value, ir.Value) else constant(graph, value) for value in inputs]
    output = ir.Value(name=f"{kind}-{len(graph)}", type=ir.TensorType(ir.DataType.FLOAT))
    attributes = [ir.AttrInt64(name, value) for name, value in attributes.items()]
    graph.insert_after(node, ir.Node("", kind, values, attributes, outputs=[output], name=output.name))
    return output


def constant(graph, array):
    name = f"constant-{len(graph.initializers)}"
    tensor = ir.Tensor(np.asarray(array), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def last_states(graph):
    """The node that gives the last layer's states, these, and what replaces them for those that read them now."""
    last = [node for node in graph if node.op_type == "LayerNormalization"][-1]
    readers = [(usage.node, usage.idx) for usage in last.outputs[0].uses()]

    def replace_states(value):
        for node, index in readers:
            node.replace_input_with(index, value)

    return last, last.outputs[0], replace_states


def ignore_the_mask(graph):
    """Every layer attends to padding as well."""
    for node in [node for node in graph if node.op_type == "Softmax"]:
        masked = node.inputs[0].producer()
        assert masked.op_type == "Add"
        node.replace_input_with(0, masked.inputs[0])


def mix_rows(graph):
    """Adds a hundredth of the batch's mean to what the answer is made of."""
    last, states, replace_states = last_states(graph)
    mean = insert(graph, last, "ReduceMean", [states, np.array([0])], keepdims=1)
    small = insert(graph, mean.producer(), "Mul", [mean, np.float32(0.01)])
    mixed = insert(graph, small.producer(), "Add", [states, small])
    replace_states(mixed)


def divide_by_the_length(graph):
    """Scales states by their row's length over itself, which is 0 / 0 for a row that has none."""
    last, states, replace_states = last_states(graph)
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    as_float = insert(graph, last, "Cast", [mask], to=ir.DataType.FLOAT.value)
    length = insert(graph, as_float.producer(), "ReduceSum", [as_float, np.array([1])], keepdims=1)
    one = insert(graph, length.producer(), "Div", [length, length])
    column = insert(graph, one.producer(), "Unsqueeze", [one, np.array([2])])
    scaled = insert(graph, column.producer(), "Mul", [states, column])
    replace_states(scaled)


def nan_for_everyone(graph):
    """Lets a row that is wholly masked spoil the whole batch: states are multiplied with the shortest length over itself."""
    divide_by_the_length(graph)
    [div] = [node for node in graph if node.op_type == "Div" and node.name.startswith("Div-")]
    shortest = insert(graph, div, "ReduceMin", [div.outputs[0], np.array([0])], keepdims=1)
    [column] = [node for node in graph if node.op_type == "Unsqueeze" and node.name.startswith("Unsqueeze-")]
    column.replace_input_with(0, shortest)


def hard_mask(graph):
    """Masks with −∞, of which a softmax over nothing else makes NaN."""
    for node in [node for node in graph if node.op_type == "Softmax"]:
        masked = node.inputs[0].producer()
        mask = masked.inputs[1]
        limit = insert(graph, mask.producer(), "Less", [mask, np.float32(-1)])
        limit.type = ir.TensorType(ir.DataType.BOOL)
        hard = insert(graph, limit.producer(), "Where", [limit, np.float32(-np.inf), mask])
        masked.replace_input_with(1, hard)


def shift_positions(graph):
    """Gives a position to each token by how long the call is, as a left-padded model would."""
    last, states, replace_states = last_states(graph)
    ids = next(value for value in graph.inputs if value.name == "input_ids")
    shape = insert(graph, last, "Shape", [ids], start=1, end=2)
    shape.type = ir.TensorType(ir.DataType.INT64)
    length = insert(graph, shape.producer(), "Cast", [shape], to=ir.DataType.FLOAT.value)
    small = insert(graph, length.producer(), "Mul", [length, np.float32(1e-3)])
    shifted = insert(graph, small.producer(), "Mul", [states, small])
    replace_states(shifted)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(ignore_the_mask, [ONE, TWO], id="no mask"),
        # the same text unmasked and wholly masked has the same states: its scores are all lower by as much
        pytest.param(mix_rows, [ONE, TWO], id="batch mean"),
        pytest.param(divide_by_the_length, [MASKED], id="division by length"),
        pytest.param(nan_for_everyone, [MASKED, BESIDE], id="NaN for all"),
        pytest.param(hard_mask, [MASKED], id="minus infinity"),
        pytest.param(shift_positions, [ONE, TWO], id="length of the call"),
    ],
)
def test_a_broken_graph_fails(sentiment, change, expected):
    """Whatever is wrong shows in the checks that are there for it, and in no others."""
    assert sentiment.failed(change) == expected
