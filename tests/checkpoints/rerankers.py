"""Cross-encoders of sentence-transformers, in the layouts of its versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .case import Case, Equal, Refused, all_of, config, edited, without
from .judges import ranks
from .labels import head_of

LONG = "In those days there was no king in Israel: every man did that which was right in his own eyes. " * 9
#: Documents of all lengths; and a query that is longer than all that the model reads. No document occurs twice, because rounding
#: puts equal ones in any order in CrossEncoder's batches.
ASKED = [
    {"query": "Wine: kept in jars", "documents": ["Every bottle shall be filled with wine.", LONG, "", "ok"]},
    {"query": LONG, "documents": ["Every bottle shall be filled with wine.", LONG]},
    {"query": "", "documents": ["Jesus wept."]},
]
PAIRS = [[(one["query"], document) for one in ASKED for document in one["documents"]], ("Grief", "Jesus wept.")]
RANK = {"task": "rerank"}
ENCODER, TRANSFORMER = "config_sentence_transformers.json", "sentence_bert_config.json"
IDENTITY = "torch.nn.modules.linear.Identity"
#: The files that versions before 6 did not write.
of_a_model = without("modules.json", ENCODER, TRANSFORMER)


def appended(folder: Path) -> None:
    """Another module after the Transformer."""
    path = folder / "modules.json"
    more = {"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
    path.write_text(json.dumps([*json.loads(path.read_text("utf-8")), more]), "utf-8")


def saved_again(**loading: Any) -> Callable[[Path], Path]:
    """Loaded by CrossEncoder with these arguments, and saved."""

    def change(folder: Path) -> Path:
        from sentence_transformers import CrossEncoder

        made = folder.with_name("saved")
        CrossEncoder(str(folder), device="cpu", **loading).save_pretrained(str(made), create_model_card=False)
        return made

    return change


def equal(name: str, change: Callable[[Path], Any], options: Mapping[str, Any] | None = None, **more: Any) -> Case:
    """Rankings that are CrossEncoder's; `options`: of the export; `call`: of the calls."""
    asset, inputs, call = more.pop("asset", "bert-rerank"), more.pop("inputs", ASKED), more.pop("call", {})
    outcome = Equal(inputs, call, **{"judge": ranks, "method": "__call__", **more})
    return Case(f"reranker: {name}", asset, change, outcome, options or {})


def refused(name: str, change: Callable[[Path], Any], *words: str, asset: str = "bert-rerank", **options: Any) -> Case:
    return Case(f"reranker: {name}", asset, change, Refused(words), options)


def as_it_is(folder: Path) -> None:
    pass


CASES = (
    equal("a folder of version 6", as_it_is),
    equal(
        "a folder of version 4, identity", all_of(of_a_model, config(sentence_transformers={"activation_fn": IDENTITY}))
    ),
    equal("a folder of version 2, identity", all_of(of_a_model, config(sbert_ce_default_activation_function=IDENTITY))),
    equal(
        "of another architecture",
        all_of(head_of(1, id2label={"0": "score"}, label2id={"score": 0}), config(["problem_type"])),
        RANK,
        asset="distilbert-sentiment",
    ),
    equal("pairs", as_it_is, inputs=PAIRS, judge=None, method=None),
    equal("only weights and a tokenizer", of_a_model, RANK),
    equal("a folder of version 6, identity", edited(ENCODER, activation_fn=IDENTITY)),
    equal("a tangent", edited(ENCODER, activation_fn="torch.nn.modules.activation.Tanh")),
    equal("an activation of its own, which is not loaded", edited(ENCODER, activation_fn="mine.Squashed")),
    equal("max_length is shorter", saved_again(max_length=24)),
    equal("max_seq_length is shorter", edited(TRANSFORMER, max_seq_length=16)),
    equal("model_max_length in processor_kwargs", edited(TRANSFORMER, processor_kwargs={"model_max_length": 20})),
    equal("a default prompt", edited(ENCODER, prompts={"query": "Topic: "}, default_prompt_name="query")),
    equal("prompts that nobody asks for", edited(ENCODER, prompts={"query": "Topic: "})),
    equal("a prompt by its name", edited(ENCODER, prompts={"query": "Topic: "}), call={"prompt_name": "query"}),
    equal("a prompt of the caller", as_it_is, call={"prompt": "Topic: ", "top_k": 2, "return_documents": True}),
    refused(
        "several labels",
        config(sentence_transformers={"activation_fn": IDENTITY}),
        *("one label", "has 3", "--task text-classification"),
        asset="bert-nli",
    ),
    refused("a head that classifies", as_it_is, "one label", "has 3", asset="bert-sentiment", **RANK),
    refused("another head", as_it_is, "was trained for token-classification", asset="bert-ner", **RANK),
    refused("several modules", appended, "modules.json", "Dense"),
    refused("lower case", edited(TRANSFORMER, do_lower_case=True), "do_lower_case", "not served"),
    refused(
        "a generator", edited(TRANSFORMER, transformer_task="text-generation"), "transformer_task", "text-generation"
    ),
    refused(
        "an unknown activation", edited(ENCODER, activation_fn="torch.nn.modules.activation.PReLU"), "PReLU", "Sigmoid"
    ),
    refused("a default prompt that is missing", edited(ENCODER, default_prompt_name="query"), "no prompt 'query'"),
)
