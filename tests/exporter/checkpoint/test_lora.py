"""Adapters are merged as peft runs them, whoever wrote them, and every way in which one cannot be is an error of ours."""

import json
from dataclasses import replace

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from hf2triton.checkpoint.adapters.merge import merge_adapter
from hf2triton.checkpoint.adapters.source import (
    find_adapter,
    head_settings,
    is_adapter,
    read_base_and_adapter,
    require_base,
)
from hf2triton.core.digests import digest_of
from hf2triton.core.options import ExportOptions
from hf2triton.errors import AdapterError, HeadMissing

from ...records.record_adapters import ADAPTERS, CASES
from ...support import snapshot
from .adapters import BERT, CLIP, DISTILBERT, GPT2, MODELS, RENAMED_MODULES, build, edit, merge, probe, train


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        # PyTorch's MultiheadAttention never calls its out_proj: no training changes an adapter there
        {"target_modules": "all-linear", "exclude_modules": r".*\.head\.attention\.out_proj"},
        {"use_rslora": True, "r": 4},
        {"use_dora": True},
        {"rank_pattern": {r"(layers?|h)\.1\..*": 3}},
    ],
    ids=["attention", "all-linear", "rslora", "dora", "ranks"],
)
def test_the_merged_model_is_the_model_with_its_adapter(architecture, settings, tmp_path):
    """For each family the merge gives what peft gives, is not the base, and has the base's own modules."""
    config = peft.LoraConfig(**{"target_modules": MODELS[architecture][1], **settings})
    folder = train(tmp_path / "adapter", build(architecture), config)
    with torch.no_grad():
        expected = probe(peft.PeftModel.from_pretrained(build(architecture), folder).eval())
        base = probe(build(architecture))
        merged, report = merge(build(architecture), folder)
        actual = probe(merged)
    for one, other, unmerged in zip(expected, actual, base, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
        assert (other - unmerged).abs().max() > 1e-3
    assert report.adapter_difference <= report.allowed < report.base_difference
    assert [(name, type(module)) for name, module in merged.named_modules()] == [
        (name, type(module)) for name, module in build(architecture).named_modules()
    ]
    assert not merged.training
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    assert json.loads(json.dumps(report.to_json()))["peft_type"] == "LORA"


@pytest.mark.parametrize("declared", [True, False])
def test_conv1d(declared, tmp_path):
    """GPT-2 keeps its weights transposed: an adapter merges whether or not its config says so (fan_in_fan_out)."""
    config = peft.LoraConfig(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)
    folder = train(tmp_path / "adapter", build(GPT2), config)
    edit(folder, fan_in_fan_out=declared)
    merged, report = merge(build(GPT2), folder)
    assert report.modules == 6
    weight = merged.transformer.h[0].attn.c_attn.weight
    lora = load_file(folder / "adapter_model.safetensors")
    a, b = (lora[f"base_model.model.transformer.h.0.attn.c_attn.lora_{name}.weight"] for name in "AB")
    torch.testing.assert_close(weight, build(GPT2).transformer.h[0].attn.c_attn.weight + (b @ a).T)


@pytest.mark.parametrize("tower", ["text_model", "vision_model"])
def test_one_of_clips_towers(tower, tmp_path):
    """An adapter on one tower leaves the other as it was."""
    config = peft.LoraConfig(target_modules=rf"{tower}\..*\.(q_proj|v_proj)")
    folder = train(tmp_path / "adapter", build(CLIP), config)
    with torch.no_grad():
        base = probe(build(CLIP))
        merged, report = merge(build(CLIP), folder)
        outputs = probe(merged)
    assert report.modules == 4
    changed = [not torch.equal(one, other) for one, other in zip(base, outputs, strict=True)]
    assert changed == [tower == "text_model", tower == "vision_model"]


@pytest.mark.parametrize("case", CASES)
def test_adapters_of_both_versions_of_transformers(case):
    """Adapters that 4.57.6 and 5.23.0 wrote merge to the same outputs, and to those that each version gave itself."""
    outputs = {}
    for version in (4, 5):
        folder = ADAPTERS / case / f"transformers-{version}"
        kind = getattr(transformers, CASES[case].architecture)
        adapter = find_adapter(folder)
        model, info = kind.from_pretrained(
            ADAPTERS / "bases" / CASES[case].base, output_loading_info=True, **head_settings(adapter)
        )
        expected = load_file(folder / "expected.safetensors")
        inputs = {name[6:]: tensor for name, tensor in expected.items() if name.startswith("input.")}

        def run(model, inputs=inputs):
            answers = model(**inputs)
            return [answers[name] for name in CASES[case].outputs]

        table = RENAMED_MODULES.get(model.config.model_type, ())
        with torch.no_grad():
            merged, report = merge_adapter(model.eval(), adapter, table, frozenset(info["missing_keys"]), run)
            outputs[version] = run(merged)
        for name, actual in zip(CASES[case].outputs, outputs[version], strict=True):
            torch.testing.assert_close(actual, expected[f"output.{name}"], atol=1e-5, rtol=1e-5)
        assert report.renamed == (version == 4 and case.startswith(("vit", "clip-text", "deit", "dinov2")))
    for one, other in zip(outputs[4], outputs[5], strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_an_adapter_of_a_model_with_a_head_fits_one_without(tmp_path):
    """What was trained as a masked language model serves feature extraction: the paths begin with the model's prefix."""
    folder = train(tmp_path / "adapter", build("BertForMaskedLM"), peft.LoraConfig(target_modules=["query"]))
    with_head, _ = merge(build("BertForMaskedLM"), folder)
    headless = build("BertModel")
    headless.load_state_dict(build("BertForMaskedLM").bert.state_dict(), strict=False)
    merged, report = merge(headless, folder)
    assert report.renamed
    for name, tensor in with_head.bert.state_dict().items():
        torch.testing.assert_close(merged.state_dict()[name], tensor)


def test_the_adapters_head_replaces_the_bases(trained):
    """A head in modules_to_save is the one that is exported, and decides how many labels the base is loaded with."""
    head = load_file(trained / "adapter_model.safetensors")["base_model.model.classifier.weight"]
    assert head_settings(find_adapter(trained)) == {"num_labels": 3}
    merged, report = merge(build(BERT), trained, missing={"classifier.weight", "classifier.bias"})
    torch.testing.assert_close(merged.classifier.weight, head, atol=0, rtol=0)
    assert report.saved_modules == ("classifier",)
    assert report.target_modules == ("query", "value")
    assert (report.modules, report.ranks) == (4, (8,))


def test_a_head_of_two_layers(tmp_path):
    """A head whose last layer has a name of its own decides how many labels the base is loaded with, too."""
    folder = train(
        tmp_path / "adapter",
        build("RobertaForSequenceClassification"),
        peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]),
    )
    assert head_settings(find_adapter(folder)) == {"num_labels": 3}


def test_labels_beside_an_adapter(copied):
    """A config.json in the adapter's folder names the labels of its head; one of another size is refused."""
    config = {"id2label": {"0": "bad", "1": "fair", "2": "good"}, "problem_type": "single_label_classification"}
    (copied / "config.json").write_text(json.dumps(config))
    assert head_settings(find_adapter(copied)) == {
        "num_labels": 3,
        "id2label": {0: "bad", 1: "fair", 2: "good"},
        "label2id": {"bad": 0, "fair": 1, "good": 2},
        "problem_type": "single_label_classification",
    }
    (copied / "config.json").write_text(json.dumps({"id2label": {"0": "bad", "1": "good"}}))
    with pytest.raises(AdapterError, match="names 2 labels, and the adapter's head has 3"):
        head_settings(find_adapter(copied))


def test_an_adapter_without_a_head_asks_nothing_of_the_base(tmp_path):
    """Where the adapter brings no head, the base's is used as it is."""
    folder = train(tmp_path / "adapter", build(BERT), peft.LoraConfig(target_modules=["query"]))
    assert head_settings(find_adapter(folder)) == {}


def test_a_head_that_nobody_trained(trained):
    """A masked language model has no pooler and the adapter brings none: what would be random is refused by name."""
    missing = {f"{name}.{part}" for name in ("classifier", "bert.pooler.dense") for part in ("weight", "bias")}
    message = r"has bert\.pooler\.dense\.bias, bert\.pooler\.dense\.weight, which would be random"
    with pytest.raises(HeadMissing, match=message):
        merge(build(BERT), trained, missing=missing)


def test_both_layers_of_distilberts_head(tmp_path):
    """peft saves pre_classifier along with classifier, so that neither is random."""
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["q_lin"])
    folder = train(tmp_path / "adapter", build(DISTILBERT), config)
    missing = {f"{name}.{part}" for name in ("classifier", "pre_classifier") for part in ("weight", "bias")}
    merged, report = merge(build(DISTILBERT), folder, missing=missing)
    assert report.saved_modules == ("pre_classifier", "classifier")
    head = load_file(folder / "adapter_model.safetensors")["base_model.model.pre_classifier.weight"]
    assert torch.equal(merged.pre_classifier.weight, head)


def test_files_are_described_and_left_as_they_are(copied):
    """The adapter names its base, task and digests; merging changes nothing on disk."""
    edit(copied, base_model_name_or_path="Org/Base")
    before = snapshot(copied)
    adapter = find_adapter(copied)
    assert is_adapter(copied)
    assert not is_adapter(copied.parent)
    assert (adapter.base, adapter.task_type, adapter.architecture) == ("Org/Base", "SEQ_CLS", None)
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert adapter.digests == {name: digest_of(copied / name) for name in names}
    merge(build(BERT), copied)
    assert snapshot(copied) == before


@pytest.mark.parametrize(
    ("named", "given", "config"),
    [
        ("google-bert/BERT-base-uncased", "bert-base-uncased", {}),
        ("/home/someone/models/bert-base-uncased/", "./bert-base-uncased", {}),
        ("C:\\models\\bert-base-uncased", "models/bert-base-uncased", {}),
        ("bert-base-uncased", "/cache/models--google-bert--bert-base-uncased/snapshots/0123", {}),
        ("google-bert/bert-base-uncased", "./copy", {"_name_or_path": "bert-base-uncased"}),
        (None, "./anything", {}),
        ("", "./anything", {}),
    ],
)
def test_the_base_that_the_adapter_names(copied, named, given, config):
    """Names are compared by their last component, whatever the folder; an adapter that names none fits any."""
    edit(copied, base_model_name_or_path=named)
    require_base(find_adapter(copied), given, config)


def test_another_base_than_the_adapter_names(copied):
    """The error says both names and what to do."""
    edit(copied, base_model_name_or_path="google-bert/bert-base-uncased")
    with pytest.raises(AdapterError, match=r"trained on google-bert/bert-base-uncased, and the base given is \./other"):
        require_base(find_adapter(copied), "./other", {"_name_or_path": "bert-base-cased"})


def test_the_base_may_be_named(copied):
    """Where its folder has another name, the user says which model it is; a wrong one is refused all the same."""
    edit(copied, base_model_name_or_path="google-bert/bert-base-uncased")
    source = ExportOptions("./other", "x", adapter=str(copied))
    base, adapter = read_base_and_adapter(replace(source, base_name="bert-base-uncased"))
    require_base(adapter, base, {})
    base, adapter = read_base_and_adapter(replace(source, base_name="bert-base-cased"))
    with pytest.raises(AdapterError, match=r"if they are the same model, --base-name google-bert/bert-base-uncased"):
        require_base(adapter, base, {})


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (lambda: build(BERT, hidden_size=32), r"query\.lora_A\.weight is \[8, 16\], and the base takes \[8, 32\]"),
        (lambda: build(BERT, num_labels=2), r"classifier\.weight is \[3, 16\], and the base takes \[2, 16\]"),
        (lambda: build(BERT, num_hidden_layers=3), r"lacks weights that its config promises: .*layer\.2\."),
        (lambda: build(BERT, num_hidden_layers=1), r"no place for weights .*layer\.1\."),
        (lambda: build(DISTILBERT), r"no place for weights .*bert\.encoder\.layer\.0\."),
        (lambda: build("BertModel"), r"no place for weights .*classifier.*for another task\?"),
    ],
    ids=["width", "labels", "more-layers", "fewer-layers", "family", "headless"],
)
def test_a_base_that_does_not_fit(trained, base, message):
    """Shapes, layers and heads that differ are named; nothing is dropped or left random."""
    with pytest.raises(AdapterError, match=message):
        merge(base(), trained)
