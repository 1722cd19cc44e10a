"""Weights of an adapter that are absent, damaged or of another kind than LoRA are merged as peft does, or refused."""

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf2triton.checkpoint.adapters.source import find_adapter
from hf2triton.errors import AdapterError, SourceError

from .adapters import BERT, GPT2, build, edit, merge, probe, train


def rewrite(folder, change):
    weights = load_file(folder / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors")


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


def test_weights_that_are_absent(copied):
    """An adapter that lacks one of its weights would get a random one: it is named."""
    rewrite(copied, lambda weights: weights.pop(f"{QUERY}.lora_B.weight"))
    with pytest.raises(AdapterError, match=r"promises: .*layer\.0\.attention\.self\.query\.lora_B\.weight$"):
        merge(build(BERT), copied)


def test_weights_without_a_place(copied):
    """A weight that the model has no place for is not dropped silently."""
    rewrite(copied, lambda weights: weights.update({"base_model.model.crf.transitions": torch.ones(2)}))
    with pytest.raises(AdapterError, match=r"no place for weights .*crf\.transitions\. Was it trained"):
        merge(build(BERT), copied)


def test_biases_that_peft_lost(copied):
    """peft before 0.19 did not save the biases of bias="lora_only": the adapter is refused, not merged without them."""
    edit(copied, bias="lora_only")
    with pytest.raises(AdapterError, match=r"promises: .*base_layer\.bias"):
        merge(build(BERT), copied)


def test_trained_biases_are_merged(tmp_path):
    """Biases that were trained along are part of the merge."""
    folder = train(tmp_path / "adapter", build(BERT), peft.LoraConfig(target_modules=["query"], bias="lora_only"))
    saved = load_file(folder / "adapter_model.safetensors")[f"{QUERY}.base_layer.bias"]
    merged, _ = merge(build(BERT), folder)
    torch.testing.assert_close(merged.bert.encoder.layer[0].attention.self.query.bias, saved)


def test_an_adapter_that_was_never_trained(tmp_path):
    """An adapter at its start changes nothing, which is hardly what was meant."""
    peft.get_peft_model(build(BERT), peft.LoraConfig(target_modules=["query"])).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="changes no output by more than 0: was it trained"):
        merge(build(BERT), tmp_path)


def test_a_merge_that_is_not_the_adapter(tmp_path):
    """GPT-2's output layer shares its weight with the embedding, so that an adapter on it alone cannot be merged."""
    folder = train(tmp_path / "adapter", build(GPT2), peft.LoraConfig(target_modules=["lm_head"]))
    with pytest.raises(AdapterError, match="cannot be merged: the merged model's outputs differ by"):
        merge(build(GPT2), folder)


def test_values_that_are_not_finite(copied):
    """An adapter whose training diverged is refused."""
    rewrite(copied, lambda weights: weights[f"{QUERY}.lora_A.weight"].fill_(torch.nan))
    with pytest.raises(AdapterError, match=r"not finite, in .*query\.lora_A"):
        find_adapter(copied)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_weights_that_were_cut_short(copied, kept):
    """A truncated file is found before the base is loaded."""
    path = copied / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors \(.* bytes\) is corrupt or was cut short"):
        find_adapter(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "does not hold a JSON object"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "is it an adapter's folder"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "holds no weights"),
        (lambda folder: edit(folder, peft_type="MAGIC"), "peft_type 'MAGIC' is unknown; known are .*LORA"),
        (lambda folder: edit(folder, megatron_config={"a": 1}, megatron_core="evil"), "made for Megatron"),
    ],
    ids=["cut-config", "list", "no-config", "no-weights", "unknown-kind", "megatron"],
)
def test_folders_that_hold_no_adapter(copied, change, message):
    """Each part that is missing or strange is named."""
    change(copied)
    with pytest.raises(SourceError, match=message):
        find_adapter(copied)


def test_settings_of_a_newer_peft(copied):
    """A setting that this peft would ignore is an error, unless it is off."""
    edit(copied, use_nothing=False)
    merge(build(BERT), copied)
    edit(copied, use_wonders=True)
    with pytest.raises(AdapterError, match=r"settings that peft .* does not know: use_wonders; upgrade it"):
        merge(build(BERT), copied)


def test_pickles_load_only_when_allowed(copied):
    """A pickled adapter is refused by default and, with the flag, gives the same model."""
    expected, _ = merge(build(BERT), copied)
    path = copied / "adapter_model.safetensors"
    torch.save(load_file(path), copied / "adapter_model.bin")
    path.unlink()
    with pytest.raises(AdapterError, match="--allow-pickle"):
        find_adapter(copied)
    merged, _ = merge(build(BERT), copied, allow_pickle=True)
    assert torch.equal(merged.classifier.weight, expected.classifier.weight)


def test_a_pickle_that_runs_code_does_not(copied, tmp_path):
    """Even with the flag, only tensors are unpickled."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"weight": Evil()}, copied / "adapter_model.bin")
    (copied / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError):
        find_adapter(copied, allow_pickle=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "config",
    [
        peft.IA3Config(target_modules=["query", "output.dense"], feedforward_modules=["output.dense"]),
        peft.LoHaConfig(target_modules=["query"]),
        peft.LoKrConfig(target_modules=["query"]),
        peft.OFTConfig(target_modules=["query"], oft_block_size=8),
        peft.AdaLoraConfig(target_modules=["query"], total_step=10),
        peft.VeraConfig(target_modules=["query"]),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_other_kinds_that_peft_merges(config, tmp_path):
    """LoRA's relatives merge as well, and so does IA3."""
    folder = train(tmp_path / "adapter", build(BERT), config)
    with torch.no_grad():
        expected = probe(peft.PeftModel.from_pretrained(build(BERT), folder).eval())
        merged, report = merge(build(BERT), folder)
        torch.testing.assert_close(probe(merged), expected, atol=1e-5, rtol=1e-5)
    assert report.peft_type == config.peft_type.value


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
        peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
        peft.PromptEncoderConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_kinds_that_cannot_be_merged(config, tmp_path):
    """Virtual tokens are no part of any weight."""
    peft.get_peft_model(build(BERT), config).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=f"holds a {config.peft_type.value} adapter, which cannot be merged"):
        find_adapter(tmp_path)


def test_a_kind_that_leaves_parts_behind(tmp_path):
    """What peft cannot take out of the model again is refused: its modules would be exported."""
    config = peft.LNTuningConfig(target_modules=["LayerNorm"], modules_to_save=["classifier"])
    folder = train(tmp_path / "adapter", build(BERT), config)
    with pytest.raises(AdapterError, match="leaves parts of a LN_TUNING adapter"):
        merge(build(BERT), folder)
