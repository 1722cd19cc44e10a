"""Folders of sentence-transformers whose texts have weights for tokens (SparseEncoder), or a vector for each of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .case import Case, Equal, Refused, edited
from .sentences import COMPARED, ENCODE, PROMPTS, TEXTS, TRANSFORMER, layers, module, then

SPARSE = {"task": "sparse-embedding"}
DENSE, MASK, SPLADE = "1_Dense/config.json", "2_MultiVectorMask/config.json", "1_SpladePooling/config.json"
#: Weights as an array of the whole vocabulary, as the judge gives them.
AS_ARRAY = {"dense": True}


def splade(**settings: Any) -> Callable[[Path], Path]:
    """The checkpoint in a folder that SparseEncoder.save writes. `settings`: of the pooling and of the SparseEncoder."""

    def change(folder: Path) -> Path:
        from sentence_transformers import SparseEncoder
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sparse_encoder.modules import SpladePooling

        own = {name: settings[name] for name in ("pooling_strategy", "activation_function") if name in settings}
        chain = [Transformer(str(folder), transformer_task="fill-mask"), SpladePooling(**own)]
        given = {name: value for name, value in settings.items() if name not in own}
        made = folder.with_name("sparse")
        SparseEncoder(modules=chain, device="cpu", **given).save(str(made), create_model_card=False)
        return made

    return change


def tokens(*names: str, **settings: Any) -> Callable[[Path], Path]:
    """The checkpoint in a folder that MultiVectorEncoder.save writes. `names`: of what follows the Transformer."""

    def change(folder: Path) -> Path:
        from sentence_transformers import MultiVectorEncoder

        made = folder.with_name("tokens")
        transformer, *rest = _modules(folder, *names)
        MultiVectorEncoder(modules=[transformer, *rest], device="cpu", **settings).save(
            str(made), create_model_card=False
        )
        return made

    return change


def projected(*after: str) -> Callable[[Path], Path]:
    """A SentenceTransformer that pools projected states of tokens. `after`: what follows the pooling."""

    def change(folder: Path) -> Path:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules

        transformer, dense = _modules(folder, "Dense")
        chain = [transformer, dense, modules.Pooling(48, "mean"), *(getattr(modules, name)() for name in after)]
        made = folder.with_name("projected")
        SentenceTransformer(modules=chain, device="cpu").save(str(made), create_model_card=False)
        return made

    return change


def _modules(folder: Path, *names: str) -> list[Any]:
    import torch
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(0)
    transformer, reads = Transformer(str(folder)), {"module_input_name": "token_embeddings"}
    width = transformer.get_embedding_dimension()
    made = {
        "Dense": lambda: Dense(width, 48, bias=False, activation_function=torch.nn.Identity(), **reads),
        "Tanh": lambda: Dense(width, width, use_residual=True, **reads),
        "MultiVectorMask": MultiVectorMask,
        "Normalize": lambda: Normalize(**reads),
    }
    return [transformer, *(made[name]() for name in names)]


def token_judge(folder: Path) -> Callable[..., Any]:
    """MultiVectorEncoder.encode."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu")
    return lambda one, **options: model.encode(one, convert_to_numpy=True, **options)


def scored(folder: Path) -> Callable[..., list[float]]:
    """The judge of the pipeline itself: MultiVectorEncoder.similarity."""
    encode = token_judge(folder)

    def judge(sentences: Mapping[str, Any]) -> list[float]:
        from sentence_transformers.util import maxsim

        return maxsim(encode(sentences["source_sentence"]), encode(sentences["sentences"]))[0].tolist()

    return judge


def states(folder: Path) -> Callable[..., Any]:
    """SentenceTransformer.encode, which returns the vectors of tokens as tensors."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")

    def judge(one: Any, **options: Any) -> Any:
        found = model.encode(one, **options)
        return found.numpy() if isinstance(one, str) else [tensor.numpy() for tensor in found]

    return judge


def sparse(name: str, change: Callable[[Path], Any], **more: Any) -> Case:
    """Weights that are the judge's."""
    options = {**AS_ARRAY, **more.pop("options", {})}
    return Case(f"sparse: {name}", more.pop("asset", "bert-mlm"), change, Equal(TEXTS, options), more)


def late(name: str, change: Callable[[Path], Any], inputs: Any = TEXTS, **more: Any) -> Case:
    """Vectors of tokens that are the judge's."""
    more = {"judge": token_judge, "method": "encode", **more}
    return Case(f"late interaction: {name}", "bert-ner", change, Equal(inputs, **more))


def refused(name: str, asset: str, change: Callable[[Path], Any], *words: str, **options: Any) -> Case:
    return Case(name, asset, change, Refused(words), options)


CASES = (
    sparse("a SparseEncoder", splade()),
    late("Dense, mask and Normalize", tokens("Dense", "MultiVectorMask", "Normalize")),
    sparse("sums and two logarithms", splade(pooling_strategy="sum", activation_function="log1p_relu")),
    Case(
        "sentences: Dense for tokens, and their vectors",
        "bert-ner",
        projected("Normalize"),
        Equal(TEXTS, {"output_value": "token_embeddings"}, states, "encode"),
        {"token_embeddings": True},
    ),
    sparse("a plain masked language model", lambda folder: folder, **SPARSE),
    Case("sentences: Dense for tokens before the pooling", "bert-ner", projected("Normalize"), Equal(TEXTS)),
    sparse("another family", lambda folder: folder, asset="distilbert-mlm", **SPARSE),
    sparse("a default prompt", splade(prompts=PROMPTS, default_prompt_name="query")),
    sparse("a prompt by its name", splade(prompts=PROMPTS), options={"prompt_name": "passage"}),
    sparse("a prompt of the caller", splade(), options={"prompt": "Say "}),
    sparse("max_active_dims", splade(max_active_dims=12)),
    sparse("fewer than max_active_dims", splade(max_active_dims=50), options={"max_active_dims": 7}),
    sparse("more than max_active_dims", splade(max_active_dims=12), options={"max_active_dims": 70}),
    sparse(
        "as version 5 wrote it",
        then(
            splade(),
            module(0, type="sentence_transformers.sparse_encoder.models.MLMTransformer"),
            edited(TRANSFORMER, drop=("transformer_task", "modality_config", "module_output_name"), max_seq_length=20),
        ),
    ),
    late("no layers at all", tokens("MultiVectorMask")),
    late("two layers, and a prompt", tokens("Tanh", "Dense", prompts=PROMPTS), options={"prompt_name": "passage"}),
    late("lengths of 1 for a call", tokens("Dense"), options={"normalize_embeddings": True}),
    late(
        "compared by MaxSim",
        tokens("Dense", "MultiVectorMask", "Normalize"),
        [COMPARED],
        judge=scored,
        method="__call__",
    ),
    # refused
    refused(
        "sparse: a SentenceTransformer",
        "bert-mlm",
        then(splade(), edited(ENCODE, model_type="SentenceTransformer")),
        "describes a SentenceTransformer",
        "a SparseEncoder",
        **SPARSE,
    ),
    refused("sparse: as sentence-similarity", "bert-mlm", splade(), "a SparseEncoder", task="sentence-similarity"),
    refused("sparse: no head", "bert-ner", lambda folder: folder, "sparse-embedding", "trained head", **SPARSE),
    refused(
        "sparse: an activation", "bert-mlm", then(splade(), edited(SPLADE, activation_function="gelu")), SPLADE, "gelu"
    ),
    refused(
        "sparse: another pooling",
        "bert-mlm",
        then(splade(), module(1, type="sentence_transformers.sparse_encoder.modules.SparseAutoEncoder")),
        "SparseAutoEncoder",
        "SpladePooling",
    ),
    refused(
        "sparse: no vocabulary",
        "bert-mlm",
        then(splade(), edited(TRANSFORMER, transformer_task="feature-extraction")),
        "transformer_task",
    ),
    Case(
        "sparse: vectors of tokens",
        "bert-mlm",
        splade(),
        Refused(["--token-embeddings"], 2),
        {"token_embeddings": True},
    ),
    refused(
        "late interaction: words that are left out",
        "bert-ner",
        then(tokens("Dense", "MultiVectorMask"), edited(MASK, skiplist_words=["."])),
        MASK,
        "skiplist_words",
    ),
    refused(
        "late interaction: queries of a fixed length",
        "bert-ner",
        then(tokens("Dense"), edited(TRANSFORMER, query_expansion={"strategy": "fixed", "length": 32})),
        "query_expansion",
    ),
    refused(
        "late interaction: pooled",
        "bert-ner",
        then(layers(), edited(ENCODE, model_type="MultiVectorEncoder")),
        "Pooling",
    ),
    refused(
        "late interaction: a layer that reads the embedding",
        "bert-ner",
        then(tokens("Dense"), edited(DENSE, module_input_name="sentence_embedding")),
        DENSE,
        "sentence_embedding",
    ),
    refused(
        "late interaction: compared by the cosine",
        "bert-ner",
        then(tokens("Dense"), edited(ENCODE, similarity_fn_name="cosine")),
        "cosine",
        "maxsim",
    ),
)
