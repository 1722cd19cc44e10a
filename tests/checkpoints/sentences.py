"""Folders of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .case import Case, Equal, Refused, edited, saved, without

#: From no letter to more than the model reads; the last two stand for all that a tokenizer may do with case.
SENTENCES = (
    ".",
    "A short one",
    "The plot is thin, but the actors are wonderful, and I would watch it again with my friends.",
    "A long sentence that goes on and on, " * 30,
    "ÅNGSTRÖM and İstanbul, STRASSE and Straße",
)
#: Asked one by one, as a list, and as a list in which the rows of a batch are padded.
TEXTS = (*SENTENCES, list(SENTENCES))
PROMPTS = {"query": "Represent the question for a search: ", "passage": "Text: ", "clustering": ""}
POOLING, DENSE = "1_Pooling/config.json", "2_Dense/config.json"


def layers(*names: str, modes: Any = "mean", **settings: Any) -> Callable[[Path], Path]:
    """The checkpoint in a folder that SentenceTransformer.save writes. `names`: of what follows the pooling, each a name in
    `_LAYERS`; `settings`: of the SentenceTransformer, and `include_prompt`."""

    def change(folder: Path) -> Path:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules

        torch.manual_seed(0)
        include_prompt = settings.get("include_prompt", True)
        transformer = modules.Transformer(str(folder))
        width = transformer.get_embedding_dimension()
        pooling = modules.Pooling(width, modes, include_prompt=include_prompt)
        chain, width = [transformer, pooling], pooling.get_embedding_dimension()
        for name in names:
            layer, width = _LAYERS[name](modules, torch, width)
            chain.append(layer)
        for parameter in (own for layer in chain[2:] for own in layer.parameters()):
            torch.nn.init.normal_(parameter, std=0.2)
        given = {name: value for name, value in settings.items() if name != "include_prompt"}
        made = folder.with_name("sentences")
        SentenceTransformer(modules=chain, device="cpu", **given).save(str(made), create_model_card=False)
        return made

    return change


_LAYERS: Mapping[str, Callable[..., tuple[Any, int]]] = {
    "Dense": lambda modules, torch, width: (modules.Dense(width, 24), 24),
    "GELU": lambda modules, torch, width: (modules.Dense(width, 40, False, torch.nn.GELU()), 40),
    "Identity": lambda modules, torch, width: (modules.Dense(width, width, True, torch.nn.Identity()), width),
    "residual": lambda modules, torch, width: (modules.Dense(width, 32, use_residual=True), 32),
    "LayerNorm": lambda modules, torch, width: (modules.LayerNorm(width), width),
    "Normalize": lambda modules, torch, width: (modules.Normalize(), width),
    "Dropout": lambda modules, torch, width: (modules.Dropout(0.5), width),
}


def then(make: Callable[[Path], Path], *changes: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """Changes to the folder that another change made."""

    def change(folder: Path) -> Path:
        made = make(folder)
        for one in changes:
            one(made)
        return made

    return change


def old(*kinds: str, transformer: Mapping[str, Any] | None = None, **pooling: Any) -> Callable[[Path], Path]:
    """The checkpoint in a folder as sentence-transformers 2 wrote it, the model in a subfolder."""

    def change(folder: Path) -> Path:
        made = folder.with_name("sentences")
        made.mkdir()
        folder.rename(made / "0_Transformer")
        named = ["0_Transformer", "1_Pooling", *(f"{index}_{kind}" for index, kind in enumerate(kinds, 2))]
        entries = [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{path[2:]}"}
            for index, path in enumerate(named)
        ]
        (made / "modules.json").write_text(json.dumps(entries), "utf-8")
        flags = {"word_embedding_dimension": 64, "pooling_mode_cls_token": False, **pooling}
        edited(POOLING, **flags)(made)
        if transformer is not None:
            edited("0_Transformer/sentence_bert_config.json", **transformer)(made)
        return made

    return change


def module(index: int, **values: Any) -> Callable[[Path], None]:
    """Keys of a module in modules.json set."""

    def change(folder: Path) -> None:
        path = folder / "modules.json"
        entries = json.loads(path.read_text("utf-8"))
        entries[index:] = [{**entry, **(values if entry is entries[index] else {})} for entry in entries[index:]]
        path.write_text(json.dumps(entries), "utf-8")

    return change


def pickled(folder: Path) -> None:
    """The weights of a Dense layer as a pickle."""
    import torch
    from safetensors.torch import load_file

    path = folder / "2_Dense" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()


def appended(kind: str) -> Callable[[Path], None]:
    """Another module at the end of modules.json, without files."""

    def change(folder: Path) -> None:
        path = folder / "modules.json"
        entries = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps([*entries, {"idx": 9, "name": "9", "path": "9_Last", "type": kind}]), "utf-8")

    return change


def similarities(folder: Path) -> Callable[..., list[float]]:
    """The judge of the pipeline itself: SentenceTransformer.similarity."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")

    def judge(sentences: Mapping[str, Any]) -> list[float]:
        first, *others = model.encode([sentences["source_sentence"], *sentences["sentences"]])
        return model.similarity(first, others)[0].tolist()

    return judge


def of_the_model(folder: Path) -> Callable[..., Any]:
    """The judge of another task: transformers' pipeline on the model's subfolder."""
    import transformers

    return transformers.pipeline("feature-extraction", model=str(folder / "0_Transformer"), device="cpu")


def lower_cased_later(folder: Path) -> Path:
    """A cased tokenizer with an added token, over words that are in the vocabulary in lower case alone."""
    from transformers import AddedToken

    def add(model: Any, tokenizer: Any) -> None:
        tokenizer.add_tokens([AddedToken("<User>", normalized=True)])
        model.resize_token_embeddings(len(tokenizer))

    edited("tokenizer_config.json", do_lower_case=False)(folder)
    normalizer = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": False, "lowercase": False}
    edited("tokenizer.json", normalizer={"type": "BertNormalizer", **normalizer})(folder)
    saved(add, "AutoModelForSequenceClassification")(folder)
    return old(transformer={"do_lower_case": True})(folder)


def equal(name: str, change: Callable[[Path], Any], inputs: Sequence[Any] = TEXTS, **more: Any) -> Case:
    """Embeddings that are the judge's; `more`: the asset, and the rest of Equal."""
    return Case(f"sentences: {name}", more.pop("asset", "bert-sentiment"), change, Equal(inputs, **more), TASK)


def refused(name: str, change: Callable[[Path], Any], *words: str) -> Case:
    return Case(f"sentences: {name}", "bert-sentiment", change, Refused(words))


TASK = {"task": "sentence-similarity"}
COMPARED = {"source_sentence": SENTENCES[2], "sentences": [SENTENCES[1], SENTENCES[3], SENTENCES[2]]}
TRANSFORMER, ENCODE = "sentence_bert_config.json", "config_sentence_transformers.json"

CASES = (
    # pooling
    *(equal(f"pooling {mode}", layers(modes=mode)) for mode in ("cls", "mean", "max", "weightedmean", "lasttoken")),
    equal("pooling mean_sqrt_len", layers(modes="mean_sqrt_len_tokens"), asset="distilbert-sentiment"),
    equal("two poolings in an order of their own", layers("Normalize", modes=("max", "cls"))),
    equal("an old folder with two poolings", old(pooling_mode_max_tokens=True, pooling_mode_mean_tokens=True)),
    equal("an old folder that sets no pooling", old("Normalize", pooling_mode_mean_tokens=False)),
    # layers
    equal("Dense, then Normalize", layers("Dense", "Normalize")),
    equal("Normalize, then Dense", layers("Normalize", "Dense")),
    equal("three times Dense", layers("GELU", "Dropout", "Identity", "residual", modes=("cls", "mean"))),
    equal("LayerNorm", layers("LayerNorm", "Normalize")),
    # prompts
    equal("a default prompt", layers(prompts=PROMPTS, default_prompt_name="query")),
    equal("a prompt by its name", layers(prompts=PROMPTS), options={"prompt_name": "passage"}),
    equal(
        "no prompt in place of the default",
        layers(prompts=PROMPTS, default_prompt_name="query"),
        options={"prompt_name": "clustering"},
    ),
    equal("a prompt of the caller", layers(prompts=PROMPTS, default_prompt_name="query"), options={"prompt": "Say "}),
    equal("a prompt where the folder has none", layers("Normalize"), options={"prompt": "Say "}),
    *(
        equal(
            f"a prompt that {mode} leaves out",
            layers("Normalize", modes=mode, prompts=PROMPTS, default_prompt_name="query", include_prompt=False),
        )
        for mode in ("mean", "cls", "lasttoken", "weightedmean", "max")
    ),
    equal(
        "a caller's prompt that is left out",
        layers(modes=("mean_sqrt_len_tokens", "cls"), include_prompt=False),
        options={"prompt": "Represent this: "},
    ),
    # what is read of a text
    equal("do_lower_case", old(transformer={"do_lower_case": True, "max_seq_length": 64})),
    equal("do_lower_case on a cased tokenizer", lower_cased_later, [*TEXTS, "A <User>, a <user> and a USER"]),
    equal("max_seq_length is shorter", old(transformer={"max_seq_length": 12})),
    equal(
        "max_seq_length is longer than the tokenizer's",
        old(transformer={"max_seq_length": 128}),
        asset="distilbert-ner",
    ),
    equal("model_max_length in tokenizer_args", old(transformer={"tokenizer_args": {"model_max_length": 9}})),
    equal("truncate_dim", layers("Normalize", truncate_dim=16)),
    equal("truncate_dim of a call", layers("Dense"), options={"truncate_dim": 5, "normalize_embeddings": True}),
    # similarities
    *(
        Case(
            f"sentences: compared by {name}",
            "bert-sentiment",
            layers(similarity_fn_name=name),
            Equal([COMPARED], judge=similarities, method="__call__"),
        )
        for name in ("cosine", "dot", "euclidean", "manhattan")
    ),
    # other tasks
    Case(
        "sentences: the features of the Transformer alone",
        "bert-sentiment",
        then(
            old("CNN", transformer={"max_seq_length": 12}), edited(ENCODE, prompts=PROMPTS, default_prompt_name="query")
        ),
        Equal([SENTENCES[2]], judge=of_the_model),
        {"task": "feature-extraction"},
    ),
    # pickles
    Case(
        "sentences: a pickled Dense that is allowed",
        "bert-sentiment",
        then(layers("Dense"), pickled),
        Equal(SENTENCES),
        {"allow_pickle": True},
    ),
    refused("a pickled Dense", then(layers("Dense"), pickled), "2_Dense", "pickled", "--allow-pickle"),
    # refused
    *(
        refused(
            f"{kind} after the pooling", then(layers(), appended(f"sentence_transformers.models.{kind}")), kind, "Dense"
        )
        for kind in ("CNN", "LSTM", "WeightedLayerPooling", "Pooling", "SpladePooling")
    ),
    refused("words in place of a Transformer", then(old(), module(0, type="sentence_transformers.models.BoW")), "BoW"),
    refused("a Router", then(layers(), module(0, type="sentence_transformers.base.modules.router.Router")), "Router"),
    refused(
        "a custom module", then(layers(), module(0, type="modeling_own.OwnTransformer")), "OwnTransformer", "never run"
    ),
    refused("maxsim", then(layers(), edited(ENCODE, similarity_fn_name="maxsim")), "maxsim", "manhattan"),
    refused(
        "a default prompt that is not there",
        then(layers(prompts=PROMPTS), edited(ENCODE, default_prompt_name="qery")),
        "'qery'",
        "clustering",
    ),
    refused(
        "an unknown pooling", then(layers(), edited(POOLING, pooling_mode="median")), POOLING, "median", "lasttoken"
    ),
    refused("an unknown key of the pooling", then(layers(), edited(POOLING, own=1)), POOLING, "own"),
    refused("no config of the pooling", then(layers(), without(POOLING)), POOLING, "is missing"),
    refused(
        "a layer for tokens after the pooling",
        then(layers("Dense"), edited(DENSE, module_input_name="token_embeddings")),
        DENSE,
        "token_embeddings",
    ),
    refused(
        "an activation of its own", then(layers("Dense"), edited(DENSE, activation_function="own.Swish")), "own.Swish"
    ),
    refused("Dense of another width", then(layers("Dense"), edited(DENSE, in_features=65)), DENSE, "65", "64"),
    refused(
        "Dense of another shape",
        then(layers("Dense"), edited(DENSE, out_features=25)),
        "linear.",
        "2_Dense/model.safetensors",
        "24",
        "25",
    ),
    refused(
        "Dense without weights", then(layers("Dense"), without("2_Dense/*.safetensors")), "2_Dense", "model.safetensors"
    ),
    refused(
        "images beside text", then(layers(), edited(TRANSFORMER, modality_config={"image": {}, "text": {}})), "image"
    ),
    refused(
        "a head", then(layers(), edited(TRANSFORMER, transformer_task="fill-mask")), "transformer_task", "fill-mask"
    ),
    refused("an unknown key", then(layers(), edited(TRANSFORMER, layer_index=-2)), TRANSFORMER, "layer_index"),
    refused("a changed model", then(layers(), edited(TRANSFORMER, model_args={"layers": 1})), "model_args", "layers"),
)
