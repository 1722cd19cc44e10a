"""Windows and biases of attention: equal to PyTorch at any length, one for all layers, and refused where they are unknown."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM
from transformers.masking_utils import (
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    packed_sequence_mask_function,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.checkpoint.task_model import TaskModel
from hf2triton.errors import ExportError
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import first_release, fit
from hf2triton.graph.precision.conversion import with_precision
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.attention import ATTENTIONS, MASKED
from hf2triton.graph.tracing.encoder import export_graph, traced

from ...support import ASSETS, rest_slow

#: family -> its trained checkpoint, and the number of attention's inputs in each of its layers
BIASED = {
    "modernbert": ("modernbert-mlm", [5, 6, 6, 5]),
    "mpnet": ("mpnet-sentiment", [6, 6]),
    "deberta-v2": ("deberta-v2-sentiment", [6, 6]),
}


@pytest.fixture(scope="module", params=rest_slow(BIASED))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(family):
    return load_checkpoint(find_source(str(ASSETS / BIASED[family][0])), "feature-extraction")


@pytest.fixture(scope="module")
def fused(checkpoint):
    [endpoint] = checkpoint.task.endpoints
    return fit(clean(export_graph(checkpoint, endpoint, "fused", 20)), None)


def feeds_of(checkpoint, length):
    """Three rows: one full, one padded from its middle on, one of a single token."""
    mask = (np.arange(length)[None] < np.array([[length], [max(1, length // 2)], [1]])).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 1000, mask.shape)
    ids = np.where(mask == 1, ids, checkpoint.tokenizer.pad_token_id)
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: known[name] for name in checkpoint.family.inputs["text"]}


def session_of(graph, folder):
    save_graph(graph.model, folder / "model.onnx")
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])


def assert_as_pytorch(checkpoint, session):
    """At lengths around and far above the example's, up to the limit."""
    module = TaskModel(checkpoint, checkpoint.task.endpoints[0])
    for length in (1, 2, 5, 6, 100, checkpoint.max_length):
        feeds = feeds_of(checkpoint, length)
        with torch.inference_mode():
            [expected] = module(*(torch.from_numpy(feeds[name]) for name in module.inputs))
        [actual] = session.run(None, feeds)
        own = feeds["attention_mask"].astype(bool)
        np.testing.assert_allclose(actual[own], expected.numpy()[own], atol=3e-5)
        assert np.isfinite(session.run(None, {**feeds, "attention_mask": np.zeros_like(own, np.int64)})[0]).all()


def test_any_length_gives_pytorchs_states(checkpoint, fused, tmp_path):
    """Exported with five tokens, right with one and with as many as the model takes."""
    assert_as_pytorch(checkpoint, session_of(fused, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["fused-any-mask", "standard"])
def test_other_attention_knows_biases_as_well(checkpoint, attention, tmp_path):
    """A mask of two dimensions, and ONNX's own ops."""
    graph = fit(clean(export_graph(checkpoint, checkpoint.task.endpoints[0], attention, 20)), None)
    assert_as_pytorch(checkpoint, session_of(graph, tmp_path))
    nodes = [node for node in graph.model.graph if node.op_type == "MultiHeadAttention"]
    assert {len(node.inputs[4].shape) for node in nodes} == (set() if attention == "standard" else {2})
    assert (attention == "standard") == ("com.microsoft" not in graph.model.graph.opset_imports)


def test_attention_takes_the_bias_itself(family, fused):
    """One op a layer; layers with the same bias share it; a bias of all rows needs a newer release."""
    nodes = [node for node in fused.model.graph if node.op_type == "MultiHeadAttention"]
    assert [len(node.inputs) for node in nodes] == BIASED[family][1]
    assert "Softmax" not in Counter(node.op_type for node in fused.model.graph)
    biases = {node.inputs[5] for node in nodes if len(node.inputs) > 5}
    assert len(biases) == (2 if family == "deberta-v2" else 1)
    assert first_release(fused).first == ("24.05" if family == "deberta-v2" else "24.12")


def test_positions_stay_exact_in_fp16(checkpoint, fused):
    """What computes buckets and angles stays fp32: in fp16, 2049 would be 2048."""
    half = with_precision(fused, "fp16")
    ends = [
        node
        for node in half.model.graph
        if node.op_type in ("Sin", "Cos", "Log") or (node.op_type == "Cast" and node.attributes.get_int("to") == 7)
    ]
    assert ends
    assert all(value.dtype.name != "FLOAT16" for node in ends for value in node.inputs)


def test_windows_count():
    """The trained windows change the answers: a graph without them would be another model."""
    model = ModernBertForMaskedLM.from_pretrained(ASSETS / "modernbert-mlm").eval()
    config = ModernBertConfig.from_pretrained(ASSETS / "modernbert-mlm", layer_types=["full_attention"] * 4)
    other = ModernBertForMaskedLM.from_pretrained(ASSETS / "modernbert-mlm", config=config).eval()
    ids = torch.from_numpy(np.random.default_rng(0).integers(5, 1000, (1, 60)))
    with torch.inference_mode():
        assert (model(input_ids=ids).logits - other(input_ids=ids).logits).abs().max() > 0.5


MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def looks(function) -> np.ndarray:
    """What a mask function of transformers allows, `[5, 5]`."""
    positions = torch.arange(5)
    return function(None, None, positions[:, None], positions[None, :]).numpy()


@pytest.mark.parametrize(
    "function", [sliding_window_bidirectional_mask_function(1), sliding_window_causal_mask_function(2)]
)
def test_mask_functions_of_positions_are_honoured(function):
    """In all forms: as a bias beside the padding, or together with it."""
    for name in ("fused", "fused-any-mask"):
        masks = ATTENTIONS[name].mask(attention_mask=MASK, mask_function=function)
        assert masks.keys is not None
        np.testing.assert_array_equal(masks.window[0, 0], np.where(looks(function), np.float32(0), np.float32(MASKED)))
    added = ATTENTIONS["standard"].mask(attention_mask=MASK, mask_function=function)
    np.testing.assert_array_equal(added[:, 0] == 0, looks(function)[None] & MASK.numpy()[:, None].astype(bool))


UNKNOWN = {
    "each row in its own way": {"mask_function": packed_sequence_mask_function(MASK)},
    "not by positions alone": {"mask_function": bidirectional_mask_function, "use_vmap": True},
    "of a cache": {"mask_function": sliding_window_causal_mask_function(2), "q_offset": 3},
    "heads": {
        "mask_function": and_masks(causal_mask_function, lambda row, head, query, key: (query > key) & (head > 1))
    },
}


def test_a_refusal_while_tracing_is_told_as_it_is():
    """PyTorch's exporter wraps it in errors of its own, which say something else."""

    class Refusing(torch.nn.Module):
        def forward(self, x):
            raise ExportError("the model masks attention by the weather")

    with pytest.raises(ExportError, match=r"^the model masks attention by the weather"):
        traced(Refusing(), (torch.ones(2),), ({0: torch.export.Dim("n")},), ["x"], ["y"], 20)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("arguments", UNKNOWN.values(), ids=UNKNOWN)
def test_other_mask_functions_are_refused(attention, arguments):
    """A graph that ignored them would answer wrongly."""
    with pytest.raises(ExportError, match="masks attention"):
        ATTENTIONS[attention].mask(attention_mask=MASK, **arguments)
