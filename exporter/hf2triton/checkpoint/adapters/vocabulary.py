"""The vocabulary that an adapter was trained with: resizes the base's embedding table as users of peft do.

They call `base.resize_token_embeddings(len(tokenizer))` before they load the adapter. The new rows are random until the
adapter fills them, from a complete saved table or from trained tokens. Rows that remain random are an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.wording import some
from ...errors import AdapterError
from .source import Adapter, shapes_of

if TYPE_CHECKING:
    import torch

    from ...core.types import Checkpoint, Tokenizer
    from ...families import Family

#: Ending of the name of a weight that has one row for each token -> the dimension of the rows, and whether the rows are
#: complete. LoRA's factors are only a part of a table.
_TABLES = {
    "weight": (0, True),
    "base_layer.weight": (0, True),
    "original_module.weight": (0, True),
    "lora_embedding_A": (1, False),
}

#: How many tokens of each kind prove a merge.
_MOST = 16


def rows_of(adapter: Adapter, embedding: str, rows: int, vocabulary: Mapping[str, int]) -> int:
    """How many rows the base's table needs for the adapter and its tokenizer, judging by their files alone.

    `embedding`: the last component of the name of the table's module; `rows`: the base's rows; `vocabulary`: token -> id. If the
    adapter saved a table, its number of rows decides, because no other number fits: tokenizers may have fewer tokens, as with
    `pad_to_multiple_of`. Raises AdapterError for tokens that have no row, or whose row would be random.
    """
    saved = [
        (shape[dimension], whole)
        for name, shape in shapes_of(adapter).items()
        for end, (dimension, whole) in _TABLES.items()
        if f".{name}".endswith(f".{embedding}.{end}")
    ]
    if not saved and not adapter.has_tokenizer:
        return rows
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    needed = max((vocabulary[tokens[-1]] if tokens else 0) + 1, len(tokens))
    resized = max(size for size, _ in saved) if saved else max(rows, needed)
    outside = [token for token in tokens if vocabulary[token] >= resized]
    if outside:
        raise AdapterError(
            f"the tokenizer that goes with the adapter in {adapter.folder} has {needed} tokens, and the embeddings that the"
            f" adapter saved have {resized} rows, none for {_listed(outside, vocabulary)}: save the tokenizer beside the"
            " adapter that it was trained with"
        )
    if not any(whole for _, whole in saved):
        trained = _trained_tokens(adapter.config)
        random = [token for token in tokens if vocabulary[token] >= rows and vocabulary[token] not in trained]
        if random:
            raise AdapterError(
                f"the adapter in {adapter.folder} has no embeddings of tokens that its tokenizer adds to the base's {rows}:"
                f" {_listed(random, vocabulary)} would be random. Save it again with"
                " save_pretrained(..., save_embedding_layers=True); if they were not trained, train them, as"
                f' trainable_token_indices or with modules_to_save=["{embedding}"]'
            )
    return resized


def fit_vocabulary(model: torch.nn.Module, adapter: Adapter, family: Family, tokenizer: Tokenizer) -> None:
    """Resizes the base's input and output embeddings to the rows that the adapter needs. New rows are NaN; `require_rows` then
    finds those that the adapter does not fill. Raises AdapterError."""
    import tokenizers

    owner = _owner(model, family)
    old = owner.get_input_embeddings().num_embeddings
    vocabulary = tokenizers.Tokenizer.from_str(tokenizer.definition).get_vocab(with_added_tokens=True)
    rows = rows_of(adapter, family.embedding, old, vocabulary)
    if rows == old:
        return
    owner.resize_token_embeddings(rows, mean_resizing=False)
    for table in _tables(owner):
        table.weight.requires_grad_(False)[old:] = float("nan")
    model.eval().requires_grad_(False)


def require_rows(model: torch.nn.Module, adapter: Adapter) -> None:
    """Raises AdapterError if a model with the adapter in its layers has rows that neither the adapter nor the base fills."""
    import torch

    for table in _tables(model):
        inner = getattr(table, "base_layer", table)
        inner = getattr(inner, "original_module", inner)
        rows, width = inner.weight.shape
        with torch.no_grad():
            if isinstance(inner, torch.nn.Embedding):
                broken = table(torch.arange(rows)).isnan().any(-1)
            else:
                broken = table(torch.ones(1, width))[0].isnan()
        numbers = broken.nonzero().flatten().tolist()
        if numbers:
            kind = "input" if isinstance(inner, torch.nn.Embedding) else "output"
            raise AdapterError(
                f"the adapter in {adapter.folder} brings no {kind} embeddings for the tokens {some([*map(str, numbers)])},"
                " which the base lacks: they would be random. Save it again with"
                " save_pretrained(..., save_embedding_layers=True)"
            )


def tokens_of(checkpoint: Checkpoint, adapter: Adapter) -> str:
    """A text of tokens that the adapter may have trained: those that it names, and the last that its tokenizer adds."""
    if checkpoint.tokenizer is None:
        return ""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_str(checkpoint.tokenizer.definition)
    added = sorted(tokenizer.get_added_tokens_decoder()) if adapter.has_tokenizer else []
    mask = tokenizer.token_to_id(checkpoint.tokenizer.mask_token or "")  # some preprocessors treat masks specially
    chosen = dict.fromkeys([*sorted(_trained_tokens(adapter.config))[:_MOST], *added[-_MOST:]])
    return tokenizer.decode([token for token in chosen if token != mask], skip_special_tokens=False)


def _tables(model: Any) -> list[Any]:
    """The model's modules that have one row for each token; none for some models."""
    try:
        both = model.get_input_embeddings(), model.get_output_embeddings()
    except NotImplementedError:  # the tables are in the towers
        return []
    return [table for table in both if hasattr(table, "weight") or hasattr(table, "original_module")]


def _owner(model: Any, family: Family) -> Any:
    """The module that holds the token embeddings: the model itself, or its text tower."""
    return getattr(model, family.towers["text"][0]) if family.towers else model


def _trained_tokens(config: Mapping[str, Any]) -> frozenset[int]:
    """The ids of tokens whose rows an adapter trained individually."""
    given = config.get("trainable_token_indices") or config.get("token_indices") or []
    return frozenset(number for ids in (given.values() if isinstance(given, dict) else [given]) for number in ids)


def _listed(tokens: list[str], vocabulary: Mapping[str, int]) -> str:
    return some([f"{token!r} ({vocabulary[token]})" for token in tokens])
