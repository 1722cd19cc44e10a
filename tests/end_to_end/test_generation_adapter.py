"""A LoRA adapter for GPT-2, whose layers are Conv1D: merged, exported and served."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer, GPT2LMHeadModel

from hf2triton.core.options import ExportOptions
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton_client import pipeline

from ..support import ASSETS, sample_of

BASE, ADAPTER = ASSETS / "gpt2-verses", ASSETS / "gpt2-verses-lora"
NEW = 32


@pytest.fixture(scope="module")
def prompts():
    return [row["prompt"] for row in sample_of(ADAPTER)[:6]]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    repository = tmp_path_factory.mktemp("adapted") / "model_repository"
    options = ExportOptions(str(BASE), "plain", adapter=str(ADAPTER), precision="fp32", repository=repository)
    return export(options)


@pytest.fixture(scope="module")
def texts(prompts):
    """What PyTorch writes with the adapter switched on, and without it."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = PeftModel.from_pretrained(GPT2LMHeadModel.from_pretrained(BASE), ADAPTER).eval()

    def write(prompt):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        settings = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
        sequence = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)[0]
        return tokenizer.decode(sequence, skip_special_tokens=True)

    adapted = [write(prompt) for prompt in prompts]
    with model.disable_adapter():
        return adapted, [write(prompt) for prompt in prompts]


def test_the_task_is_inferred_and_the_merge_proved(report):
    """peft's CAUSAL_LM is text-generation; the merged model is the adapted one, and another than the base."""
    assert report.task == "text-generation"
    merge = report.entry.manifests["plain"].adapter.merge
    assert set(merge["target_modules"]) == {"c_attn", "c_proj"}
    assert merge["base_difference"] > 1 > merge["allowed"] >= merge["adapter_difference"]


def test_the_served_model_writes_as_with_its_adapter(report, prompts, texts):
    """Greedy texts through the server are those of PyTorch with the adapter on, and not those of the base."""
    adapted, base = texts
    with (
        Server(report.options.repository) as server,
        pipeline("text-generation", model="plain", url=server.url, do_sample=False, max_new_tokens=NEW) as write,
    ):
        served = [result[0]["generated_text"] for result in write(prompts)]
    assert adapted == served
    assert all(one != other for one, other in zip(served, base, strict=True))


@pytest.mark.slow
def test_an_adapter_trained_without_a_task_is_taken(tmp_path):
    """Where peft's config names no task, the base's architecture tells it."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in ADAPTER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"task_type": None}))
    options = {"adapter": str(folder), "repository": tmp_path / "r", "dry_run": True}
    assert export(ExportOptions(str(BASE), "plain", **options)).task == "text-generation"
