"""PyTorch models become graphs: named axes, attention as asked for, equal answers."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import items_of, preprocessor_of
from hf2triton.checkpoint.sample_inputs import parity_inputs
from hf2triton.checkpoint.source import find_source
from hf2triton.checkpoint.task_model import TaskModel
from hf2triton.errors import UnknownName
from hf2triton.families import FAMILIES as FAMILIES_BY_NAME
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import find_release, fit, opset_for
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.attention import ATTENTIONS
from hf2triton.graph.tracing.encoder import export_graph

from ...conftest import CHECKPOINTS, FAMILIES, asset
from ...support import ASSETS


@pytest.fixture(scope="module")
def load():
    """Checkpoints by family and task, each loaded once."""
    loaded = {}

    def get(family, task):
        if (family, task) not in loaded:
            loaded[family, task] = load_checkpoint(find_source(str(asset(family, task))), task)
        return loaded[family, task]

    return get


def make(checkpoint, path, attention="fused", release=None, endpoint=None):
    row = find_release(release)
    endpoint = endpoint or checkpoint.task.endpoints[0]
    graph = fit(clean(export_graph(checkpoint, endpoint, attention, opset_for(row))), row)
    save_graph(graph.model, path)
    return graph


def largest_difference(checkpoint, path, feeds, endpoint=None):
    """Between the outputs of PyTorch and of the stored graph, whose padding is wrong in the same way."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        module = TaskModel(checkpoint, endpoint or checkpoint.task.endpoints[0])
        expected = module(*(torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in module.inputs))
    actual = session.run(list(module.outputs), dict(feeds))
    mask = feeds.get("attention_mask")
    gaps = []
    for one, other in zip(expected, actual, strict=True):
        gap = np.abs(one.numpy() - other)
        per_token = mask is not None and gap.shape[:2] == mask.shape
        gaps.append((gap[mask.astype(bool)] if per_token else gap).max())
    return max(gaps)


def of_mask(checkpoint, mask):
    """Random ids under a mask."""
    ids = np.random.default_rng(0).integers(5, 1000, mask.shape) * mask
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: known[name] for name in checkpoint.family.inputs["text"]}


RIGHT = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]])
LEFT = RIGHT[:, ::-1].copy()


def each_attention() -> list:
    """Attention, family and task. Tasks of a family differ in their heads alone, and families otherwise than in their attention:
    one task of each runs, and one in all forms; the others are slow."""
    first = dict(reversed(CHECKPOINTS))
    quick = {("fused", *pair) for pair in first.items()} | {(form, "bert", first["bert"]) for form in ATTENTIONS}
    return [
        pytest.param(attention, *pair, marks=() if (attention, *pair) in quick else pytest.mark.slow)
        for attention in ATTENTIONS
        for pair in CHECKPOINTS
    ]


@pytest.mark.parametrize(("attention", "family", "task"), each_attention())
def test_the_graph_gives_pytorchs_answers(load, tmp_path, attention, family, task):
    """Every family, task and attention equals PyTorch, for padded rows, for a single one and for the longest."""
    checkpoint = load(family, task)
    for endpoint in checkpoint.task.endpoints:
        make(checkpoint, tmp_path / "model.onnx", attention, endpoint=endpoint)
        preprocessor = preprocessor_of(checkpoint, endpoint)
        rows = [row for item in items_of(preprocessor, parity_inputs(checkpoint, endpoint)) for row in item.rows]
        longest = max(rows, key=preprocessor.length)
        for own in (rows[:5], [rows[0]], [longest, rows[0], longest]):
            assert largest_difference(checkpoint, tmp_path / "model.onnx", preprocessor.feeds(own), endpoint) < 5e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "task", "base"),
    [
        ("distilbert", "question-answering", "distilbert-sentiment"),
        ("distilbert", "zero-shot-classification", "distilbert-sentiment"),
    ],
)
def test_heads_that_no_trained_checkpoint_has(tmp_path, family, task, base):
    """The other heads of each family are exported as well: of a trained checkpoint, with a random head."""
    torch.manual_seed(0)
    [architecture] = [name for name, tasks in FAMILIES_BY_NAME[family].architectures.items() if task in tasks][:1]
    labels = {"id2label": {0: "contradiction", 1: "entailment"}} if task.startswith("zero") else {}
    kind = getattr(transformers, architecture)
    kind.from_pretrained(ASSETS / base, ignore_mismatched_sizes=True, **labels).save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(ASSETS / base).save_pretrained(tmp_path / "model")
    checkpoint = load_checkpoint(find_source(str(tmp_path / "model")), task)
    [endpoint] = checkpoint.task.endpoints
    make(checkpoint, tmp_path / "model.onnx")
    preprocessor = preprocessor_of(checkpoint, endpoint)
    rows = [row for item in items_of(preprocessor, parity_inputs(checkpoint, endpoint)) for row in item.rows]
    assert largest_difference(checkpoint, tmp_path / "model.onnx", preprocessor.feeds(rows[:5])) < 5e-5


@pytest.mark.parametrize("attention", ["fused-any-mask", "standard"])
def test_any_mask_may_be_padded_on_the_left(load, tmp_path, attention):
    """Where the mask is kept in two dimensions, callers may mask what they like."""
    checkpoint = load("distilbert", "token-classification")
    make(checkpoint, tmp_path / "model.onnx", attention)
    assert largest_difference(checkpoint, tmp_path / "model.onnx", of_mask(checkpoint, LEFT)) < 2e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_one_node_a_layer(load, tmp_path, family):
    """The fused graph has one attention node a layer, no softmax and no reshapes around it."""
    graph = make(load(family, "text-classification"), tmp_path / "model.onnx")
    ops = [node.op_type for node in graph.model.graph]
    assert ops.count("MultiHeadAttention") == 2
    assert not {"Softmax", "Reshape", "Transpose"} & set(ops)


@pytest.mark.parametrize(
    ("family", "task"), [("vit", "image-classification"), ("clip", "zero-shot-image-classification")]
)
def test_attention_of_towers(load, tmp_path, family, task):
    """Images have no mask; CLIP's text tower looks back alone."""
    checkpoint = load(family, task)
    for endpoint in checkpoint.task.endpoints:
        graph = make(checkpoint, tmp_path / "model.onnx", endpoint=endpoint)
        nodes = [node for node in graph.model.graph if node.op_type == "MultiHeadAttention"]
        assert nodes
        for node in nodes:
            assert (len(node.inputs) > 4 and node.inputs[4] is not None) == (endpoint.modality == "text")
            assert ("unidirectional" in node.attributes) == (endpoint.modality == "text")


def test_every_row_keeps_a_key():
    """CUDA's kernels give NaN for a row without any; a CPU's do not, so the mask is looked at."""
    mask = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0]])
    lengths = ATTENTIONS["fused"].mask(attention_mask=mask)
    assert lengths.tolist() == [3, 1, 1, 0, 3, 6, 9, 0, 3, 6, 9]


def test_standard_attention_needs_no_contrib_ops(load, tmp_path):
    """The standard graph imports ONNX's own domain alone, for other runtimes."""
    make(load("bert", "text-classification"), tmp_path / "model.onnx", "standard")
    model = onnx.load(tmp_path / "model.onnx")
    assert {entry.domain for entry in model.opset_import} == {""}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(("release", "opset", "ir_version"), [(None, 20, 10), ("23.12", 19, 9), ("26.08", 20, 10)])
def test_a_graph_fits_its_release(load, tmp_path, release, opset, ir_version):
    """IR and opset are what the release loads, and no opset is imported that is not used."""
    checkpoint = load("bert", "text-classification")
    make(checkpoint, tmp_path / "model.onnx", release=release)
    model = onnx.load(tmp_path / "model.onnx")
    assert model.ir_version == ir_version
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": opset, "com.microsoft": 1}
    assert largest_difference(checkpoint, tmp_path / "model.onnx", of_mask(checkpoint, RIGHT)) < 2e-5


def test_axes_are_named(load, tmp_path):
    """Inputs and outputs carry the names batch and sequence."""
    make(load("bert", "token-classification"), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert {tuple(tensor.shape) for tensor in session.get_inputs()} == {("batch", "sequence")}
    assert session.get_outputs()[0].shape == ["batch", "sequence", 7]


def test_the_file_tells_nothing_of_the_machine(load, tmp_path):
    """No stack trace or path of the exporting machine is left in the graph."""
    make(load("bert", "text-classification"), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content


def test_the_same_checkpoint_gives_the_same_bytes(load, tmp_path):
    """Two exports of one checkpoint are equal byte for byte."""
    for name in ("one.onnx", "two.onnx"):
        make(load("bert", "sentence-similarity"), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_an_unknown_attention_lists_the_known(load):
    """The error lists the attentions there are."""
    checkpoint = load("bert", "text-classification")
    with pytest.raises(UnknownName, match="fused, fused-any-mask, standard"):
        export_graph(checkpoint, checkpoint.task.endpoints[0], "flash", 20)
