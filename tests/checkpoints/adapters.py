"""Adapters, and what lies in their folders. The judge is peft: the adapter on the base, with the adapter's own tokenizer."""

from __future__ import annotations

from ..support import ASSETS
from .adapting import (
    adapter,
    adapter_weights,
    base_gone,
    beside_base,
    cut_short,
    drop,
    encode,
    equal,
    given_base,
    in_subfolders,
    named,
    own_processor,
    peft_pipeline,
    second_adapter,
    sentences,
    then,
    tokenizer_config,
    widened,
)
from .case import Case, Equal, Refused, edited, without

NEW = ("<user>", "<code>")
TEXTS = ["It was great!", "<user> It was awful <code>, a waste <user> of money.", "ok"]
PROMPTS = ["And the king <user> said", "<code>In the beginning"]
BERT, GPT2 = "bert-sentiment", "gpt2-verses"
ALL = {"top_k": None}
EMBEDDING = ["word_embeddings"]
HERE = {"adapter": "{folder}/../adapter"}
LONG = "It was great! " * 80 + "But in the end it was awful, a waste of money."
_MISSING = (
    "'<user>' (3000)",
    "'<code>' (3001)",
    "would be random",
    "save_embedding_layers=True",
    "trainable_token_indices",
)

CASES = (
    # its tokenizer, and a vocabulary that grew
    Case("adapter: resized base, embeddings saved", BERT, adapter(NEW), equal(TEXTS, **ALL)),
    Case("adapter: padded vocabulary", BERT, adapter(NEW, padded=64), equal(TEXTS, **ALL)),
    Case("adapter: embeddings in modules_to_save", BERT, adapter(NEW, modules_to_save=EMBEDDING), equal(TEXTS, **ALL)),
    Case(
        "adapter: trained tokens",
        BERT,
        adapter(NEW, save=False, trainable_token_indices=lambda ids: {"word_embeddings": [7, *ids]}),
        equal(TEXTS, **ALL),
    ),
    Case(
        "adapter: nothing but trained tokens",
        BERT,
        adapter(NEW, kind="TrainableTokensConfig", token_indices=lambda ids: ids, target_modules=EMBEDDING),
        equal(TEXTS, **ALL),
    ),
    Case(
        "adapter: LoRA on embeddings", BERT, adapter(target_modules=["query", "word_embeddings"]), equal(TEXTS, **ALL)
    ),
    Case("adapter: embeddings saved, none new", BERT, adapter(save=True), equal(TEXTS, **ALL)),
    Case("adapter: resized GPT-2", GPT2, adapter(NEW), equal(PROMPTS)),
    Case(
        "adapter: GPT-2's embeddings and head saved",
        GPT2,
        adapter(NEW, modules_to_save=["wte", "lm_head"]),
        equal(PROMPTS),
    ),
    Case(
        "adapter: GPT-2's embeddings saved and tied",
        GPT2,
        adapter(NEW, modules_to_save=["wte"], ensure_weight_tying=True),
        equal(PROMPTS),
    ),
    Case(
        "adapter: GPT-2's trained tokens",
        GPT2,
        adapter(NEW, save=False, trainable_token_indices=lambda ids: ids),
        equal(PROMPTS),
    ),
    Case("adapter: new tokens without embeddings", BERT, adapter(NEW, save=False), Refused(_MISSING)),
    Case(
        "adapter: LoRA on resized embeddings",
        BERT,
        adapter(NEW, target_modules=["query", "word_embeddings"]),
        equal(TEXTS, **ALL),
    ),
    Case(
        "adapter: LoRA on embeddings with random rows",
        BERT,
        adapter(NEW, save=False, target_modules=["query", "word_embeddings"]),
        Refused(_MISSING),
    ),
    Case(
        "adapter: one of two new tokens trained",
        BERT,
        adapter(NEW, save=False, trainable_token_indices=lambda ids: {"word_embeddings": ids[1:]}),
        Refused(("'<user>' (3000)", "would be random")),
    ),
    Case(
        "adapter: more tokens than saved rows",
        BERT,
        then(
            adapter(NEW),
            adapter_weights(
                lambda own: own.update({name: array[:3001] for name, array in own.items() if len(array) == 3002})
            ),
        ),
        Refused(("3002 tokens", "3001 rows", "'<code>' (3001)")),
    ),
    Case(
        "adapter: saved rows, tokenizer of the base",
        BERT,
        then(adapter(NEW), without("tok*")),
        equal([TEXTS[0]], **ALL),
    ),
    Case(
        "adapter: another limit and truncation side",
        BERT,
        then(adapter(), tokenizer_config(model_max_length=32, truncation_side="left")),
        equal([LONG], **ALL),
    ),
    Case(
        "adapter: cased", BERT, then(adapter(), tokenizer_config(do_lower_case=False)), equal(["It Was GREAT!"], **ALL)
    ),
    Case(
        "adapter: its generation config",
        GPT2,
        then(adapter(), edited("generation_config.json", repetition_penalty=1.9, eos_token_id=0)),
        equal(PROMPTS),
    ),
    Case(
        "adapter: GPT-2's embeddings saved without the head",
        GPT2,
        adapter(NEW, modules_to_save=["wte"]),
        equal(PROMPTS),
    ),
    Case("adapter: sentence-transformers", "bert-mlm", sentences, Equal(TEXTS, judge=encode)),
    Case("adapter: masked words, resized", "bert-mlm", adapter(NEW), equal(["It was <user> [MASK] great."])),
    Case(
        "adapter: masked words, saved without the output",
        "bert-mlm",
        then(adapter(NEW), adapter_weights(drop("decoder"))),
        equal(["It was <user> [MASK] great."]),
    ),
    Case(
        "adapter: CLIP with a new token",
        "clip-fashion",
        adapter(NEW, save=False, modules_to_save=["token_embedding"]),
        Equal(
            [ASSETS / "vit-fashion" / "sample" / "00.png"],
            {"candidate_labels": ["a <user>", "coat"]},
            judge=peft_pipeline,
        ),
    ),
    Case(
        "adapter: its own image processor",
        "vit-fashion",
        then(adapter(), own_processor),
        Equal([ASSETS / "vit-fashion" / "sample" / "00.png"], judge=peft_pipeline),
    ),
    # where it lies, and its base
    Case(
        "adapter: checkpoints in subfolders",
        BERT,
        in_subfolders,
        Refused(("2 adapters", "checkpoint-500, checkpoint-1000", "run/checkpoint-1000")),
    ),
    Case(
        "adapter: adapters in subfolders, as an option",
        BERT,
        beside_base(second_adapter),
        Refused(("1 adapters", "helpful", "adapters/helpful")),
        {"adapter": "{folder}/../adapters"},
    ),
    Case(
        "adapter: no such folder", BERT, lambda base: None, Refused(("there is no", "nowhere")), {"adapter": "nowhere"}
    ),
    Case(
        "adapter: its base is gone",
        BERT,
        base_gone,
        Refused(("there is no folder", "adapter_config.json names", "as SOURCE", "--adapter", "--base-name")),
    ),
    Case(
        "adapter: its base is not in the cache",
        BERT,
        then(adapter(), named(base_model_name_or_path="someone/bert-sentiment")),
        Refused(("someone/bert-sentiment", "adapter_config.json names", "as SOURCE", "--adapter", "--base-name")),
    ),
    *(
        Case(
            f"adapter: base {value!r}",
            BERT,
            then(adapter(), named(base_model_name_or_path=value)),
            Refused(("names no base", "give the base as SOURCE", "--adapter")),
        )
        for value in (None, "")
    ),
    Case(
        "adapter: null base, given beside it",
        BERT,
        beside_base(then(adapter(NEW), named(base_model_name_or_path=None))),
        Equal(TEXTS, ALL, judge=given_base),
        HERE,
    ),
    Case("adapter: revision of a folder", BERT, then(adapter(), named(revision="main")), equal(TEXTS, **ALL)),
    # what does not fit
    Case(
        "adapter: another width",
        BERT,
        beside_base(then(adapter(), named(base_model_name_or_path=None), adapter_weights(widened))),
        Refused(("does not fit", "attention.self.query", "[96, 96]", "[64, 64]")),
        HERE,
    ),
    Case(
        "adapter: another architecture",
        BERT,
        beside_base(then(adapter(), named(base_model_name_or_path=None, task_type="CAUSAL_LM"))),
        Refused(("trained for CAUSAL_LM (text-generation)", "bert model")),
        HERE,
    ),
    Case(
        "adapter: another task",
        BERT,
        adapter(),
        Refused(("trained for text-classification (SEQ_CLS)", "no trained head for token-classification")),
        {"task": "token-classification"},
    ),
    Case(
        "adapter: cut short",
        BERT,
        then(adapter(), cut_short("adapter_model.safetensors")),
        Refused(("corrupt or was cut short",)),
    ),
    Case(
        "adapter: half a LoRA",
        BERT,
        then(adapter(), adapter_weights(lambda own: own.pop(next(name for name in own if "lora_B" in name)))),
        Refused(("lacks weights", "lora_B.weight")),
    ),
    Case(
        "adapter: head of three, two labels",
        BERT,
        then(adapter(), edited("config.json", id2label={"0": "no", "1": "yes"})),
        Refused(("names 2 labels", "head has 3")),
    ),
    # how it was made
    Case(
        "adapter: PiSSA of a random search",
        BERT,
        then(adapter(), named(init_lora_weights="pissa_niter_4")),
        Refused(("init_lora_weights is 'pissa_niter_4'", "path_initial_model_for_weight_conversion")),
    ),
    Case(
        "adapter: AdaLoRA",
        BERT,
        adapter(kind="AdaLoraConfig", total_step=10, rank_pattern=None),
        equal(TEXTS[:1], **ALL),
    ),
    *(
        Case(f"adapter: {name}", BERT, adapter(**settings), equal(TEXTS[:1], **ALL))
        for name, settings in {
            "PiSSA": {"init_lora_weights": "pissa"},
            "OLoRA": {"init_lora_weights": "olora"},
            "biases of all": {"bias": "all"},
            "a bias of LoRA's own": {"lora_bias": True},
            "ranks and alphas by pattern": {
                "rank_pattern": {"query": 2},
                "alpha_pattern": {"value": 3},
                "use_rslora": True,
            },
            "one layer, DoRA": {"layers_to_transform": [1], "use_dora": True},
            "a parameter": {"target_modules": [], "target_parameters": ["attention.self.query.weight"]},
        }.items()
    ),
)
