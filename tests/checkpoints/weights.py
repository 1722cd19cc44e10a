"""Weights: their names, shapes, types and files; and configs that ask for what transformers no longer computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from .case import Case, Equal, Refused, all_of, config, renamed, saved, weights, without

REVIEWS = ["What a lovely day!", "Terrible. I want my money back.", "ok"]
SENTENCE = ["Angela Schmidt of Acme Ltd flew to Paris on Monday."]
GROUPED = Equal(SENTENCE, {"aggregation_strategy": "simple"})


def _as_type(name: str):
    def change(model, tokenizer):
        import torch

        model.to(getattr(torch, name))

    return saved(change, "AutoModelForSequenceClassification")


def _sharded(folder: Path) -> None:
    tensors = sorted(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    index = {}
    for number, part in enumerate((tensors[::2], tensors[1::2]), 1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file(dict(part), folder / name, {"format": "pt"})
        index |= dict.fromkeys((key for key, _ in part), name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _pickled(folder: Path) -> None:
    import torch

    tensors = load_file(folder / "model.safetensors")
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _text(content: str):
    return lambda folder: (folder / "model.safetensors").write_text(content)


def _added(name: str, *shape: int):
    return weights(lambda tensors: tensors.update({name: np.ones(shape, np.float32)}))


def _taken(*parts: str):
    return weights(
        lambda tensors: {name: array for name, array in tensors.items() if not any(part in name for part in parts)}
    )


def _narrow_head(tensors):
    tensors["classifier.weight"] = tensors["classifier.weight"][:, :-1]


def _decoder_of_its_own(model, tokenizer):
    import torch

    decoder = model.get_output_embeddings()
    decoder.weight = torch.nn.Parameter(decoder.weight.detach() * 1.5)
    decoder.bias = torch.nn.Parameter(decoder.bias.detach() + 1.5)
    model.config.tie_word_embeddings = False


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 44123456\n"

CASES = (
    Case(
        "gamma and beta",
        "bert-sentiment",
        renamed(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")),
        Equal(REVIEWS),
    ),
    Case("bf16 weights", "bert-sentiment", _as_type("bfloat16"), Equal(REVIEWS)),
    Case("fp16 weights", "distilbert-sentiment", _as_type("float16"), Equal(REVIEWS)),
    Case("shards", "bert-ner", _sharded, GROUPED),
    Case("pickled weights, allowed", "bert-sentiment", _pickled, Equal(REVIEWS), {"allow_pickle": True}),
    Case("pickled weights", "bert-sentiment", _pickled, Refused(["pytorch_model.bin", "--allow-pickle"])),
    Case(
        "position ids among the weights",
        "bert-sentiment",
        weights(lambda tensors: tensors.update({"bert.embeddings.position_ids": np.arange(128)[None]})),
        Equal(REVIEWS),
    ),
    Case(
        "a pooler that no answer needs",
        "bert-ner",
        all_of(_added("bert.pooler.dense.weight", 64, 64), _added("bert.pooler.dense.bias", 64)),
        GROUPED,
    ),
    Case(
        "a body alone, with a head left over",
        "bert-sentiment",
        config(architectures=["BertModel"]),
        Equal(REVIEWS),
        {"task": "feature-extraction"},
    ),
    Case(
        "pre-training's second head",
        "bert-mlm",
        all_of(
            config(architectures=["BertForPreTraining"]),
            _added("cls.seq_relationship.weight", 2, 64),
            _added("cls.seq_relationship.bias", 2),
        ),
        Equal(["Paris is the [MASK] of France."]),
    ),
    Case(
        "a decoder that is not tied",
        "bert-mlm",
        saved(_decoder_of_its_own, "AutoModelForMaskedLM"),
        Equal(["Paris is the [MASK] of France."]),
    ),
    Case("is_decoder", "bert-sentiment", config(is_decoder=True), Equal(REVIEWS)),
    Case("feed-forward in chunks", "bert-sentiment", config(chunk_size_feed_forward=1), Equal(REVIEWS)),
    Case(
        "outputs that nobody reads",
        "bert-sentiment",
        config(output_attentions=False, output_hidden_states=True, torchscript=True),
        Equal(REVIEWS),
    ),
    Case(
        "relative positions",
        "bert-sentiment",
        config(position_embedding_type="relative_key"),
        Refused(["config.json", "position_embedding_type 'relative_key'", "absolute"]),
    ),
    Case(
        "relative positions, told by their weights alone",
        "bert-sentiment",
        _added("bert.encoder.layer.0.attention.self.distance_embedding.weight", 255, 32),
        Refused(["distance_embedding.weight", "would be dropped"], early=False),
    ),
    Case(
        "pruned heads", "bert-sentiment", config(pruned_heads={"0": [1]}), Refused(["pruned_heads", "transformers 5"])
    ),
    Case(
        "code of its own",
        "bert-sentiment",
        config(auto_map={"AutoModel": "modeling_bert.Model"}),
        Refused(["auto_map", "code of its own"]),
    ),
    Case(
        "quantized weights",
        "bert-sentiment",
        config(quantization_config={"quant_method": "bitsandbytes"}),
        Refused(["quantization_config", "full precision"]),
    ),
    Case(
        "a layer of its own",
        "bert-ner",
        _added("crf.transitions", 9, 9),
        Refused(["crf.transitions", "would be dropped"], early=False),
    ),
    Case(
        "fewer layers than weights",
        "bert-sentiment",
        config(num_hidden_layers=1),
        Refused(["bert.encoder.layer.1.", "would be dropped"], early=False),
    ),
    Case(
        "more layers than weights",
        "bert-sentiment",
        config(num_hidden_layers=9),
        Refused(["bert.encoder.layer.", "would be random"], early=False),
    ),
    Case(
        "a layer without its weights",
        "distilbert-ner",
        _taken("layer.0.ffn"),
        Refused(["distilbert.transformer.layer.0.ffn.lin1.bias", "would be random"], early=False),
    ),
    Case(
        "names of DataParallel",
        "bert-sentiment",
        renamed(("bert.", "module.bert."), ("classifier.", "module.classifier.")),
        Refused(["module.bert.", "no place"], early=False),
    ),
    Case(
        "a head of another width",
        "bert-sentiment",
        weights(_narrow_head),
        Refused(["classifier.weight", "[3, 63]", "[3, 64]"], early=False),
    ),
    Case(
        "another vocabulary than the config's",
        "bert-sentiment",
        config(vocab_size=99),
        Refused(["word_embeddings.weight", "vocab_size 99"]),
    ),
    Case(
        "fewer positions than the config's",
        "bert-sentiment",
        config(max_position_embeddings=512),
        Refused(["position_embeddings.weight", "128 rows", "512"]),
    ),
    Case(
        "weights cut short",
        "bert-sentiment",
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000]),
        Refused(["model.safetensors (5,000 bytes)", "cut short"]),
    ),
    Case(
        "a pointer of Git LFS", "bert-sentiment", _text(LFS), Refused(["model.safetensors", "Git LFS", "git lfs pull"])
    ),
    Case("no weights", "bert-sentiment", without("*.safetensors"), Refused(["holds no weights"])),
    Case(
        "a body that is still to be trained",
        "bert-sentiment",
        _taken("classifier"),
        Refused(["text-classification", "classifier.weight would be random"]),
    ),
)
