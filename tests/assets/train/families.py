"""Small configurations of text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers import (
    BertConfig,
    CamembertConfig,
    CamembertTokenizer,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from . import bytepairs, unigram, wordpiece
from .wordpiece import MAX_LENGTH

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
#: family -> its config, and what the config calls the hidden size, the layers, the heads and the inner size.
FAMILIES = {
    "bert": (BertConfig, _SIZES),
    "electra": (partial(ElectraConfig, embedding_size=32), _SIZES),
    "distilbert": (DistilBertConfig, ("dim", "n_layers", "n_heads", "hidden_dim")),
    "roberta": (RobertaConfig, _SIZES),
    "xlm-roberta": (XLMRobertaConfig, _SIZES),
    "camembert": (CamembertConfig, _SIZES),
}
#: What the configs of some families have beside it: positions that start behind the padding token, whose index is 1.
_AFTER_PADDING = {"max_position_embeddings": MAX_LENGTH + 2, "type_vocab_size": 1}
_MORE = dict.fromkeys(("roberta", "xlm-roberta", "camembert"), _AFTER_PADDING)


def small_tokenizer(family: str, texts: Sequence[str], *, lowercase: bool) -> PreTrainedTokenizerBase:
    """The family's kind of tokenizer, with 3000 tokens from `texts`. Only WordPiece tokenizers write in lower case."""
    if family == "roberta":
        return bytepairs.train_masked_tokenizer(texts)
    unigrams = {"xlm-roberta": XLMRobertaTokenizer, "camembert": CamembertTokenizer}
    if family in unigrams:
        return unigram.train_tokenizer(texts, made=unigrams[family])
    return wordpiece.train_tokenizer(texts, lowercase=lowercase, token_types=family != "distilbert")


def small_config(
    family: str,
    vocabulary: int,
    labels: list[str] | None = None,
    sizes: tuple[int, int, int, int] = (64, 2, 4, 128),
    **more: Any,
) -> PreTrainedConfig:
    """`sizes`: hidden size, layers, heads, inner size."""
    config_class, names = FAMILIES[family]
    if labels:
        more |= {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    more = {"max_position_embeddings": MAX_LENGTH, **_MORE.get(family, {}), **more}
    return config_class(vocab_size=vocabulary, **dict(zip(names, sizes, strict=True)), **more)


def prepare(model: PreTrainedModel) -> None:
    """Starts a BERT where a short training finds its way sooner: with attention to neighbours and to equal tokens.

    Position embeddings start as sines, and each layer's keys as its queries, so that likes attend to each other.
    """
    positions = model.base_model.embeddings.position_embeddings.weight
    count, hidden = positions.shape
    angles = torch.arange(count)[:, None] / 10_000 ** (torch.arange(hidden // 2) * 2 / hidden)
    with torch.no_grad():
        positions.copy_(0.1 * torch.cat([angles.sin(), angles.cos()], dim=-1))
        for name, parameter in model.named_parameters():
            for query, key in (("query", "key"), ("q_lin", "k_lin")):
                if f".{query}.weight" in name:
                    model.get_parameter(name.replace(query, key)).copy_(parameter.mul_(1.5))
