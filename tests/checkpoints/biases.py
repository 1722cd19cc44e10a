"""Attention with biases and windows: the settings that hub checkpoints have for them. Weights that a setting adds are random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .adapting import adapter, peft_pipeline
from .case import Case, Equal, Refused, all_of, config, edited, weights

REVIEWS = ["What a lovely day!", "Terrible. I want my money back.", "ok", "Not bad at all, I would buy it again. " * 9]
VERSES = [
    "And God said unto [MASK], I am the Lord thy God.",
    "And he said unto them, " * 25 + "the son of [MASK] went up [MASK] the land of Israel",
    "[MASK]",
]
ALL = {"top_k": None}
HERE = {"adapter": "{folder}/../adapter"}
MPNET, DEBERTA, MODERN = "mpnet-sentiment", "deberta-v2-sentiment", "modernbert-mlm"


def _remade(auto_class: str = "AutoModelForSequenceClassification", **settings: Any) -> Callable[[Path], None]:
    """A model of other settings, with random weights that are large enough for every setting to count."""

    def change(folder: Path) -> None:
        import torch
        import transformers

        chosen = transformers.AutoConfig.from_pretrained(folder)
        chosen = type(chosen).from_dict({**chosen.to_dict(), **settings})
        torch.manual_seed(0)
        model = getattr(transformers, auto_class).from_config(chosen)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:
                    spread = 1 if "embeddings" in name else 2 * parameter.shape[-1] ** -0.5
                    parameter.copy_(torch.randn(parameter.shape) * spread)
        model.save_pretrained(folder)

    return change


def _scaled(factor: float, ending: str) -> Callable[[Path], None]:
    def change(tensors: dict[str, Any]) -> None:
        [name] = [name for name in tensors if name.endswith(ending)]
        tensors[name] = tensors[name] * factor

    return weights(change)


def _as_on_the_hub(folder: Path) -> None:
    """The keys of the first ModernBERT checkpoints."""
    content = json.loads((folder / "config.json").read_text("utf-8"))
    kept = {name: value for name, value in content.items() if name not in ("layer_types", "rope_parameters")}
    old = {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps(kept | old | {"reference_compile": None}), "utf-8")


CASES = (
    Case("windows of two tokens to each side", MODERN, config(local_attention=4), Equal(VERSES)),
    Case(
        "the mean of tokens, and a window",
        MODERN,
        _remade(classifier_pooling="mean", num_labels=3, problem_type="multi_label_classification"),
        Equal(REVIEWS, ALL),
    ),
    Case(
        "v2: convolution, keys of positions, absolute positions, token types",
        DEBERTA,
        _remade(
            share_att_key=False,
            position_biased_input=True,
            type_vocab_size=2,
            conv_kernel_size=3,
            conv_act="gelu",
            embedding_size=32,
        ),
        Equal([*REVIEWS, {"text": REVIEWS[0], "text_pair": REVIEWS[1]}], ALL),
    ),
    Case("a bias that rules", MPNET, _scaled(20, "relative_attention_bias.weight"), Equal(REVIEWS, ALL)),
    Case("relative positions without buckets", DEBERTA, _remade(position_buckets=-1), Equal(REVIEWS, ALL)),
    Case("content to position alone", DEBERTA, _remade(pos_att_type=["c2p"]), Equal(REVIEWS, ALL)),
    Case("position to content alone, as text", DEBERTA, _remade(pos_att_type="p2c"), Equal(REVIEWS, ALL)),
    Case(
        "no relative positions",
        DEBERTA,
        _remade(relative_attention=False, position_biased_input=True),
        Equal(REVIEWS, ALL),
    ),
    Case(
        "relative positions that end before the text",
        DEBERTA,
        _remade(max_relative_positions=16, position_buckets=8),
        Equal(REVIEWS, ALL),
    ),
    Case("a head that is not the legacy one", DEBERTA, _remade("AutoModelForMaskedLM", legacy=False), Equal(VERSES)),
    Case("the legacy head", DEBERTA, _remade("AutoModelForMaskedLM", legacy=True), Equal(VERSES)),
    Case("no windows", MODERN, config(layer_types=["full_attention"] * 4), Equal(VERSES)),
    Case("windows alone", MODERN, config(layer_types=["sliding_attention"] * 4), Equal(VERSES)),
    Case("keys of the first checkpoints", MODERN, _as_on_the_hub, Equal(VERSES)),
    Case(
        "rotary positions that are stretched",
        MODERN,
        config(
            rope_parameters={
                kind: {"rope_type": "linear", "factor": 2.0, "rope_theta": theta}
                for kind, theta in (("full_attention", 160000.0), ("sliding_attention", 10000.0))
            }
        ),
        Equal(VERSES),
    ),
    Case("adapter: projections of queries to outputs", MPNET, adapter(), Equal(REVIEWS, ALL, peft_pipeline), HERE),
    Case("adapter: disentangled attention", DEBERTA, adapter(), Equal(REVIEWS, ALL, peft_pipeline), HERE),
    Case("adapter: queries, keys and values at once", MODERN, adapter(), Equal(VERSES, judge=peft_pipeline), HERE),
    Case(
        "positions that the padding token shifts",
        MPNET,
        all_of(config(max_position_embeddings=128), edited("tokenizer_config.json", model_max_length=512)),
        Refused(["position_embeddings.weight", "130 rows", "128"]),
    ),
)
