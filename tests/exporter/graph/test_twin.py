"""The twin stands for fp16 hardware: it is off as PyTorch's own fp16 is, and overflows where that overflows.

PyTorch's half precision on a CPU adds up in fp32 inside an op and rounds what it gives, as GPUs do. Its error and the twin's
come from the same roundings, but not of the same ops everywhere (PyTorch adds a bias before it rounds), so that the two lie close
together: 0 to 1.0 of PyTorch's own error apart was measured, where errors that have nothing to do with each other would be 1.4.
"""

import numpy as np
import pytest
import torch
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import items_of, preprocessor_of
from hf2triton.checkpoint.sample_inputs import parity_inputs
from hf2triton.checkpoint.source import find_source
from hf2triton.checkpoint.task_model import TaskModel
from hf2triton.core.types import Graph
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.tracing.encoder import export_graph, traced

from ...support import ASSETS, rest_slow
from .tiny import answer, twin_answer

#: How far the twin may lie from PyTorch's fp16, as a share of what that lies from fp32: on average over all numbers.
FAITHFUL = 1.2


class Attention(torch.nn.Module):
    """Softmax attention of one head, in standard ops."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Linear(64, 64) for _ in range(3))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-1, -2) / 8
        return scores.softmax(dim=-1) @ self.value(x)


class FirstOutput(torch.nn.Module):
    """A layer of BERT, whose output may come in a tuple."""

    def __init__(self):
        super().__init__()
        config = BertConfig(hidden_size=64, num_attention_heads=4, intermediate_size=128, attn_implementation="eager")
        self.layer = BertLayer(config)

    def forward(self, x):
        given = self.layer(x)
        return given[0] if isinstance(given, tuple) else given


class Difference(torch.nn.Module):
    """Squares, and what is left of them when they are taken away again."""

    def forward(self, x):
        return (x * x + x) - x * x


MODULES = {
    "dense": lambda: torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 64)),
    "norm": lambda: torch.nn.LayerNorm(64),
    "attention": Attention,
    "bert layer": FirstOutput,
    "difference": Difference,
}


def made(name):
    """A module with larger weights than it is initialised with, and its graph."""
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / 4)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    model = traced(module, (torch.ones(2, 5, 64),), shapes, ["x"], ["y"], OPSET)
    return module, fit(clean(Graph(model, (), (), "standard")), None)


def three_answers(module, graph, x, folder):
    """Of fp32, of PyTorch's fp16 and of the twin."""
    feeds = {"x": x.numpy()}
    exact, twin = answer(graph.model, feeds, folder), twin_answer(graph, (), feeds, folder)
    with torch.inference_mode():
        half = module.half()(x.half()).float().numpy()
    module.float()
    return exact, half, twin


def states(size=1.0, rows=16):
    return torch.randn(rows, 5, 64, generator=torch.Generator().manual_seed(1)) * size


def off(one, other):
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("dense", 1.0),
        ("norm", 1.0),
        ("norm", 2e3),
        ("norm", 1e4),
        ("attention", 1.0),
        ("bert layer", 1.0),
        ("bert layer", 5.0),
        ("difference", 1.0),
    ],
)
def test_modules(tmp_path, name, size):
    """The twin lies about as far from fp32 as PyTorch's fp16 does, and closer to that than chance would have it."""
    module, graph = made(name)
    exact, half, twin = three_answers(module, graph, states(size), tmp_path)
    assert np.isfinite(half).all()
    assert np.isfinite(twin).all()
    assert off(half, exact) > 0
    assert off(twin, half) < FAITHFUL * off(half, exact)
    assert 0.5 < off(twin, exact) / off(half, exact) < 2


def broken(answers):
    """Which rows hold a NaN or an infinity."""
    return (~np.isfinite(answers)).any(axis=tuple(range(1, answers.ndim))).tolist()


@pytest.mark.parametrize(("name", "size"), [("dense", 9e3), ("attention", 60.0), ("difference", 80.0), ("norm", 2.2e4)])
def test_modules_that_overflow(tmp_path, name, size):
    """Rows of growing size: the twin breaks in exactly those where PyTorch's fp16 does, which are some and not all."""
    module, graph = made(name)
    x = states(size) * torch.linspace(0.1, 1, 16)[:, None, None]
    exact, half, twin = three_answers(module, graph, x, tmp_path)
    assert np.isfinite(exact).all()
    assert broken(twin) == broken(half)
    assert 0 < sum(broken(half)) < 16
    whole = ~np.array(broken(half))
    assert off(twin[whole], half[whole]) < FAITHFUL * off(half[whole], exact[whole])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trained checkpoints in fp32, in PyTorch's fp16 and as twins, after a change of their weights: answers to what parity
    asks, all rows in one call."""

    def answers(name, edit=lambda parameters: None):
        folder = tmp_path_factory.mktemp("twin")
        checkpoint = load_checkpoint(find_source(str(ASSETS / name)), None)
        [endpoint] = checkpoint.task.endpoints
        with torch.no_grad():
            edit(dict(checkpoint.model.named_parameters()))
        preprocessor = preprocessor_of(checkpoint, endpoint)
        rows = [row for item in items_of(preprocessor, parity_inputs(checkpoint, endpoint)) for row in item.rows]
        feeds = preprocessor.feeds(rows)
        graph = fit(clean(export_graph(checkpoint, endpoint, "standard", OPSET)), None)
        exact, twin = answer(graph.model, feeds, folder), twin_answer(graph, (), feeds, folder)
        module = TaskModel(checkpoint, endpoint)
        checkpoint.model.half()
        tensors = [torch.from_numpy(feeds[name]) for name in module.inputs]
        with torch.inference_mode():
            [half] = module(*(tensor.half() if tensor.is_floating_point() else tensor for tensor in tensors))
        return exact, half.float().numpy(), twin

    return answers


@pytest.mark.parametrize("name", rest_slow(["bert-sentiment", "vit-fashion", "bert-ner", "distilbert-sentiment"], 2))
def test_trained_models(trained, name):
    """Whole models, with padding: the twin is off as PyTorch's fp16 is, by as much and in the same direction."""
    exact, half, twin = trained(name)
    assert off(half, exact) > 0
    assert off(twin, half) < FAITHFUL * off(half, exact)
    assert 0.5 < off(twin, exact) / off(half, exact) < 2
    assert np.corrcoef((half - exact).ravel(), (twin - exact).ravel())[0, 1] > 0.4


def scaled(factor, *names):
    def edit(parameters):
        found = [parameters[name] for name in parameters if name.endswith(names)]
        assert len(found) == len(names)
        for parameter in found:
            parameter *= factor

    return edit


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("bert-sentiment", scaled(8e3, "layer.0.output.dense.weight")),
        ("distilbert-sentiment", scaled(1e4, "layer.0.ffn.lin2.weight")),
        ("vit-fashion", scaled(3e4, "layers.0.mlp.fc2.weight")),
    ],
)
def test_trained_models_that_overflow(trained, name, edit):
    """Some texts and images overflow, others do not: the same for the twin as for PyTorch's fp16."""
    exact, half, twin = trained(name, edit)
    assert np.isfinite(exact).all()
    assert broken(twin) == broken(half)
    assert 0 < sum(broken(half)) < len(half)
