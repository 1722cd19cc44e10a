"""Decoders of other shapes: windows, unscaled scores, offset positions, norms behind layers, narrow embeddings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, GPTNeoConfig, GPTNeoForCausalLM, OPTConfig, OPTForCausalLM

from hf2triton.export.genai_config import GENAI_CONFIG, genai_config
from hf2triton.families import FAMILIES
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, first_onnxruntime, fit
from hf2triton.graph.precision.conversion import weight_bytes, with_precision
from hf2triton.graph.precision.quantize import quantize_weights
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.decoder import export_decoder
from hf2triton.triton_models.generation.decoder import open_decoder

from ...support import rest_slow
from ..export.test_genai_config import generate, generate_with_genai
from .test_quantize import ops_of

VOCABULARY, CONTEXT, WINDOW = 101, 96, 8
NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
#: Of rows that are served side by side, the tokens of the prompt: within the window, at its edge, and beyond it.
LENGTHS = (1, 40, 7, 8, 3, 9, 20)
STEPS = 20


def gpt_neo(**settings):
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "hidden_size": 32, "num_heads": 4}
    layers = {"num_layers": 3, "attention_types": [[["global", "local"], 1], [["local"], 1]], "window_size": WINDOW}
    return GPTNeoForCausalLM(GPTNeoConfig(**{**sizes, **layers, **NO_ENDS, **settings}))


def opt(**settings):
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "hidden_size": 32, "ffn_dim": 48}
    layers = {"num_attention_heads": 4, "num_hidden_layers": 2}
    return OPTForCausalLM(OPTConfig(**{**sizes, **layers, **NO_ENDS, **settings}))


#: Name -> model, and how many of its products are with matrices.
VARIANTS = {
    "windows": (gpt_neo, {}, 3 * 6 + 1),
    "a window of one token, heads of its own": (gpt_neo, {"window_size": 1, "tie_word_embeddings": False}, 3 * 6 + 1),
    "norms before": (opt, {}, 2 * 6 + 1),
    "norms behind, narrow embeddings": (opt, {"do_layer_norm_before": False, "word_embed_proj_dim": 16}, 2 * 6 + 3),
    "no biases, plain norms": (opt, {"enable_bias": False, "layer_norm_elementwise_affine": False}, 2 * 6 + 1),
}
#: What runs quickly stands first.
RUN = [(variant, attention) for attention in ("fused", "standard") for variant in VARIANTS]


@pytest.fixture(scope="module")
def models():
    made = {}
    for name, (make, settings, _) in VARIANTS.items():
        torch.manual_seed(1)
        made[name] = make(**settings).eval().requires_grad_(False)
        for path, parameter in made[name].named_parameters():
            scale = "norm" in path or "ln_" in path
            torch.nn.init.normal_(parameter, mean=1.0 if scale and path.endswith("weight") else 0.0, std=0.25)
    return made


@pytest.fixture(scope="module")
def graphs(models):
    """Graphs in fp32, each traced once; a copy for each caller."""
    made = {}

    def get(variant, attention):
        if (variant, attention) not in made:
            model = models[variant]
            graph = export_decoder(model, FAMILIES[model.config.model_type].decoder, attention, OPSET)
            made[variant, attention] = fit(clean(graph), None)
        graph = made[variant, attention]
        return replace(graph, model=graph.model.clone())

    return get


@pytest.mark.parametrize(("precision", "atol"), [("fp32", 1e-4), ("fp16", 0.06)])
@pytest.mark.parametrize(("variant", "attention"), rest_slow(RUN, 4))
def test_rows_of_any_length_side_by_side_give_pytorchs_logits(
    models, graphs, tmp_path, variant, attention, precision, atol
):
    """Prompts come in pieces of seven tokens, and the rows step together, across the window and far beyond it."""
    assert_rows(models[variant], with_precision(graphs(variant, attention), precision), tmp_path / "model.onnx", atol)


@pytest.mark.parametrize("attention", ["fused", "standard"])
def test_attention_may_stay_fp32(models, graphs, tmp_path, attention):
    """A plan keeps it where scores may leave fp16; past and present still have one type."""
    graph = graphs("windows", attention)
    kept = [node.name for node in graph.model.graph if node.op_type in ("GroupQueryAttention", "MatMul", "Concat")]
    graph = with_precision(graph, "fp16", kept)
    assert {value.dtype.name for value in graph.model.graph.outputs[1:]} == {"FLOAT16"}
    assert_rows(models["windows"], graph, tmp_path / "model.onnx", 0.06)


def assert_rows(model, graph, path, atol):
    """The logits of rows of LENGTHS that step together are PyTorch's."""
    save_graph(graph.model, path)
    decoder = open_decoder(str(path), len(LENGTHS), CONTEXT, threads=1, in_place=graph.shares_buffer)
    random = np.random.default_rng(0)
    rows = [random.integers(0, VOCABULARY, length + STEPS).tolist() for length in LENGTHS]
    with torch.inference_mode():
        expected = [model(torch.tensor([row])).logits[0].numpy() for row in rows]
    for slot, (row, length) in enumerate(zip(rows, LENGTHS, strict=True)):
        for start in range(0, length, 7):
            decoder.prefill(slot, row[start : min(start + 7, length)], start)
    for step in range(STEPS):
        lengths = [length + step for length in LENGTHS]
        logits = decoder.step([row[length] for row, length in zip(rows, lengths, strict=True)], lengths)
        for own, theirs, length in zip(logits, expected, lengths, strict=True):
            np.testing.assert_allclose(own, theirs[length], atol=atol)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_layer_is_one_node_of_attention(models, graphs, variant):
    """With its own window, if it has one; which the graph needs a newer onnxruntime for."""
    model, graph = models[variant], graphs(variant, "fused")
    nodes = [node for node in graph.model.graph if node.op_type == "GroupQueryAttention"]
    windows = [node.attributes.get_int("local_window_size", -1) for node in nodes]
    kinds = getattr(model.config, "attention_layers", ["global"] * model.config.num_hidden_layers)
    assert windows == [model.config.window_size if kind == "local" else -1 for kind in kinds]
    assert first_onnxruntime(graph) == ("1.24" if "local" in kinds else "1.20")
    assert not {"Softmax", "Where", "Range", "CumSum"} & set(ops_of(graph))


def test_unscaled_scores_stay_fp32(graphs):
    """Where attention is in plain ops, fp16 computes its weights in fp32, as the model does."""
    graph = with_precision(graphs("windows", "standard"), "fp16")
    softmaxes = [node for node in graph.model.graph if node.op_type == "Softmax"]
    assert len(softmaxes) == 3
    assert {node.inputs[0].dtype.name for node in softmaxes} == {"FLOAT"}


@pytest.mark.parametrize("attention", ["fused", "standard"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_stored_once_and_all_quantized(models, graphs, variant, attention):
    """A tied table is one; in int8, every product with a matrix is."""
    graph = graphs(variant, attention)
    weights = sum(parameter.numel() * 4 for parameter in models[variant].parameters())
    assert 0 <= weight_bytes(graph.model) - weights < 400
    ops = ops_of(quantize_weights(graph))
    assert ops.count("MatMulNBits") == VARIANTS[variant][2]
    assert "Gemm" not in ops


def test_the_model_is_left_as_it_was(models, graphs):
    """After an export it has its own attention and layers."""
    for variant, model in models.items():
        graphs(variant, "fused")
        kept = "eager" if model.config.model_type == "gpt_neo" else "sdpa"
        assert model.config._attn_implementation == kept
        assert not any({"forward", "_attn"} & vars(module).keys() for module in model.modules())


@pytest.mark.parametrize("variant", ["windows", "norms behind, narrow embeddings"])
def test_onnxruntime_genai_generates_pytorchs_tokens(models, graphs, tmp_path, variant):
    """An independent runtime reads the folder as it is."""
    pytest.importorskip("onnxruntime_genai")
    model = models[variant]
    save_graph(graphs(variant, "fused").model, tmp_path / "model.onnx")
    described = genai_config(model.config, GenerationConfig())
    (tmp_path / GENAI_CONFIG).write_text(json.dumps(described), "utf-8")
    for length in (1, 5, 30):
        prompt = np.random.default_rng(length).integers(10, 100, (1, length))
        assert generate_with_genai(tmp_path, prompt, length + 64) == generate(model, prompt, None)
