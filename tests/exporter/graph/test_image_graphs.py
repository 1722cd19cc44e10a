"""Graphs of images: positions that follow the size of images, and attention that pools them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.tracing.attention import ATTENTIONS
from hf2triton.graph.tracing.encoder import export_graph
from hf2triton.graph.tracing.packed_attention import attention_unpacked
from hf2triton.graph.tracing.positions import positions_resized

from ...support import ASSETS


def load(name, task):
    return load_checkpoint(find_source(str(ASSETS / name)), task)


@pytest.mark.parametrize(
    ("name", "family"), [("dinov2-fashion", "dinov2"), ("dinov2-registers-fashion", "dinov2_with_registers")]
)
def test_resized_positions(name, family):
    """The graph has the positions as PyTorch resizes them, to the bit, and no Resize; the model itself still resizes."""
    checkpoint = load(name, "image-classification")
    embeddings = getattr(checkpoint.model, family).embeddings
    hidden = checkpoint.model.config.hidden_size
    expected = embeddings.interpolate_pos_encoding(torch.zeros(1, 50, hidden), 28, 28).numpy()
    graph = clean(export_graph(checkpoint, checkpoint.task.endpoints[0], "fused", 18)).model.graph
    tables = {value.name: value for value in graph.initializers.values() if "position" in value.name}
    [positions] = [value.const_value.numpy() for value in tables.values()]
    np.testing.assert_array_equal(positions, expected)
    assert not {node.op_type for node in graph} & {"Resize", "Upsample"}
    other = embeddings.interpolate_pos_encoding(torch.zeros(1, 26, hidden), 20, 20)
    assert other.shape == (1, 26, hidden)


def test_positions_are_given_back():
    """After an error too, a model resizes its positions as before, and keeps nothing."""
    model = load("dinov2-fashion", "image-feature-extraction").model
    before = model(torch.ones(1, 3, 28, 28)).last_hidden_state
    with pytest.raises(ValueError, match="channel"), positions_resized(model, (torch.ones(1, 3, 28, 28),)):
        model(torch.ones(1, 2, 28, 28))
    with positions_resized(model, (torch.ones(1, 3, 28, 28),)):
        assert torch.equal(model(torch.ones(1, 3, 28, 28)).last_hidden_state, before)
    assert "resized_positions" not in dict(model.named_buffers())
    assert model(torch.ones(1, 3, 20, 28)).last_hidden_state.shape[1] == 1 + 5 * 7


@pytest.mark.parametrize(("attention", "op"), [("fused", "MultiHeadAttention"), ("standard", "Softmax")])
def test_attention_that_pools(attention, op):
    """PyTorch's own attention in the head is written as the layers' is, with constants that int8 can quantize."""
    checkpoint = load("siglip-fashion", None)
    layers = checkpoint.model.config.vision_config.num_hidden_layers
    graph = clean(export_graph(checkpoint, checkpoint.task.endpoints[1], attention, 20)).model.graph
    counts = Counter(node.op_type for node in graph)
    assert counts[op] == layers + 1
    assert "Split" not in counts
    constants = [node for node in graph if node.op_type == "MatMul" and node.inputs[1].const_value is not None]
    assert sum(node.name.startswith("head.attention") for node in constants) == 4


def test_a_head_is_given_back():
    """In its other form PyTorch's attention gives the same, and is what it was afterwards."""
    model = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    query, keys = torch.randn(3, 1, 8), torch.randn(3, 5, 8)
    torch.nn.init.normal_(model.in_proj_bias)
    expected = model(query, keys, keys)[0]
    names = set(model.state_dict()), set(dict(model.named_buffers()))
    with attention_unpacked(model, ATTENTIONS["standard"]):
        torch.testing.assert_close(model(query, keys, keys)[0], expected)
    assert (set(model.state_dict()), set(dict(model.named_buffers()))) == names
    assert torch.equal(model(query, keys, keys)[0], expected)


def test_attention_of_other_kinds_stays():
    """Attention whose keys have a size or a bias of their own is traced as PyTorch computes it."""
    model = torch.nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)
    with attention_unpacked(model, ATTENTIONS["standard"]):
        assert not dict(model.named_buffers())
        assert model(torch.randn(1, 2, 8), torch.randn(1, 3, 4), torch.randn(1, 3, 4))[1] is not None


def test_equal_outputs(tmp_path):
    """Pooling that takes the class token's state gives an output of its own, beside the state."""
    checkpoint = load("dinov2-fashion", "image-feature-extraction")
    graph = clean(export_graph(checkpoint, checkpoint.task.endpoints[0], "fused", 18))
    ir.save(graph.model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    names = ["last_hidden_state", "cls_embedding", "pooler_output"]
    assert [output.name for output in session.get_outputs()] == names
    pixels = torch.ones(2, 3, 28, 28)
    expected = checkpoint.model(pixels)
    for name, actual in zip(names, session.run(names, {"pixel_values": pixels.numpy()}), strict=True):
        wanted = expected.last_hidden_state[:, 0] if name == "cls_embedding" else expected[name]
        np.testing.assert_allclose(actual, wanted.numpy(), atol=1e-4)
