"""What tests share of PyTorch's exporter is what it makes of each model, and no two models share it."""

import pytest
import torch
import transformers
from onnx_ir import serde

from ... import traces

CONFIG = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
}
EXAMPLE = (torch.ones(2, 5, dtype=torch.int64),)
OPTIONS = {"dynamo": True, "dynamic_shapes": (({0: torch.export.Dim("batch", min=1, max=8)},),)}


def model(**config):
    torch.manual_seed(0)
    return transformers.BertForMaskedLM(transformers.BertConfig(**CONFIG, **config)).eval()


class Logits(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return self.model(*inputs).logits


def test_a_shared_trace_is_the_trace(tmp_path):
    """Names that PyTorch gives twice are given twice again, and every byte is the same."""
    program = torch.onnx.export.__wrapped__(
        Logits(model()).eval(), EXAMPLE, dynamo=True, output_names=["embedding"], verbose=False
    )
    made = program.model
    traces.save(made.clone(), tmp_path / "trace")
    expected, actual = (serde.serialize_model(one.clone()) for one in (made, traces.load(tmp_path / "trace")))
    assert [value.name for node in made.graph for value in node.outputs].count("embedding") == 2
    assert actual.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def changed(one):
    with torch.no_grad():
        one.bert.encoder.layer[0].output.dense.bias[3] += 1
    return one


def untied(one):
    one.cls.predictions.decoder.weight = torch.nn.Parameter(one.cls.predictions.decoder.weight.clone())
    return one


OTHERS = {
    "a weight": lambda: (changed(model()), EXAMPLE, OPTIONS),
    "tied weights": lambda: (untied(model()), EXAMPLE, OPTIONS),
    "a setting": lambda: (model(layer_norm_eps=1e-3), EXAMPLE, OPTIONS),
    "attention": lambda: (model(attn_implementation="eager"), EXAMPLE, OPTIONS),
    "a module around it": lambda: (Logits(model()), EXAMPLE, OPTIONS),
    "inputs": lambda: (model(), (torch.ones(2, 6, dtype=torch.int64),), OPTIONS),
    "free axes": lambda: (model(), EXAMPLE, OPTIONS | {"dynamic_shapes": (({0: torch.export.Dim("batch", max=9)},),)}),
    "opset": lambda: (model(), EXAMPLE, OPTIONS | {"opset_version": 20}),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_models_have_other_traces(other):
    assert traces.digest_of(*other()) != traces.digest_of(model(), EXAMPLE, OPTIONS)


def test_the_same_model_has_the_same_trace(tmp_path):
    """Wherever it lies, and whoever has loaded it."""
    digests = set()
    for name in ("one", "other"):
        model().save_pretrained(tmp_path / name)
        loaded = transformers.BertForMaskedLM.from_pretrained(tmp_path / name).eval()
        digests.add(traces.digest_of(loaded, EXAMPLE, OPTIONS))
    assert len(digests) == 1
