"""A model whose graph exceeds 2 GB: written beside its weights, read back, and held in memory little more than once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf2triton.parity.local_runner import open_version

from ...conftest import asset

#: Of weights in fp32, whatever the precision.
MOST_MEMORY = 2.2


def make_large(folder: Path) -> Path:
    """A BERT with 615 M random parameters, 2.48 GB, that takes 64 tokens."""
    code = f"""
import torch
from transformers import BertConfig, BertForSequenceClassification
torch.manual_seed(0)
config = BertConfig(
    vocab_size=30522, hidden_size=2048, num_hidden_layers=11, num_attention_heads=32, intermediate_size=8192,
    max_position_embeddings=64, num_labels=3,
)
BertForSequenceClassification(config).save_pretrained({str(folder)!r}, max_shard_size="1GB")
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(asset("bert", "text-classification") / name, folder)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return make_large(tmp_path_factory.mktemp("large") / "checkpoint")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_graph_of_more_than_2_gb(large, tmp_path, precision):
    """Parity passes and at most 2.2 times the weights are in memory at a time; fp32's weights lie beside the graph."""
    command = [sys.executable, "-m", "hf2triton", "export", str(large), "--name", "large", "--precision", precision]
    said = subprocess.run([*command, "--repository", str(tmp_path)], check=True, capture_output=True, text=True).stdout
    print(said)
    assert float(re.search(r"([\d.]+) GB at its peak", said)[1]) <= MOST_MEMORY * 2.483
    graph = tmp_path / "large" / "1" / "model.onnx"
    assert graph.is_dir() == (precision == "fp32")
    if precision == "fp32":
        assert (graph / "weights.data").stat().st_size > 1 << 31
        assert open_version(graph.parent)({"text": "a fine day"})[0][0].shape == (1, 3)
