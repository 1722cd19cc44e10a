"""What modules that compute attention themselves add to their scores, in a form that graphs compute fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import ExportError


@dataclass(frozen=True)
class Bias:
    """`scale`: (module, query) -> the factor of the scores. `prepare`: (model, module) -> what follows from weights alone. `of`:
    (what was prepared, module, query, key, the arguments of the module's `forward`) -> the bias `[batch or 1, heads, sequence,
    sequence]`; None if there is none. `query` and `key`: `[batch, heads, sequence, head_size]`."""

    scale: Callable[[Any, torch.Tensor], float]
    prepare: Callable[[Any, Any], Any]
    of: Callable[[Any, Any, torch.Tensor, torch.Tensor, Mapping[str, Any]], torch.Tensor | None]


def _shared(
    prepared: None, module: Any, query: torch.Tensor, key: torch.Tensor, arguments: Mapping[str, Any]
) -> torch.Tensor | None:
    """The bias that the encoder computes from positions alone, once for all layers. It repeats it for each row: one is enough."""
    bias: torch.Tensor | None = arguments.get("position_bias")
    return None if bias is None else bias[:1]


def _tables(model: Any, module: Any) -> dict[str, torch.Tensor]:
    """Keys (c2p) and queries (p2c) of all relative positions, times the factor of the scores: `[heads, head_size, 2 · span]`.
    They follow from weights, and are weights of the graph."""
    kinds = [kind for kind in ("c2p", "p2c") if kind in module.pos_att_type]
    if not module.relative_attention or not kinds:
        return {}
    [encoder] = [own for own in model.modules() if hasattr(own, "get_rel_embedding")]
    with torch.no_grad():
        table = encoder.get_rel_embedding()[: 2 * module.pos_ebd_size]
        scale = _scale(module.attention_head_size, module)
        projected = {kind: _projection(module, kind)(table) * scale for kind in kinds}
    # already transposed: onnxruntime 1.32 crashes on a transposed lookup in fp16 that is multiplied
    heads = module.num_attention_heads
    return {kind: own.reshape(len(own), heads, -1).permute(1, 2, 0).contiguous() for kind, own in projected.items()}


def _disentangled(
    tables: Mapping[str, torch.Tensor],
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    arguments: Mapping[str, Any],
) -> torch.Tensor | None:
    """Content to position and position to content (https://arxiv.org/abs/2006.03654, section 3.1).

    transformers multiplies each token with the embeddings of all relative positions and then gathers the pairs. Here only those
    embeddings are taken that the row's length needs, in order of their distance; a pair's place then follows from its row.
    """
    if arguments.get("query_states") is not None:
        raise ExportError("the model's last layers read queries of their own, which a graph cannot have")
    if not tables:
        return None
    relative, span = arguments["relative_pos"][0], module.pos_ebd_size
    # relative positions of a query to keys at distances S − 1, …, 0, …, 1 − S, and one more, which no pair has
    from_query = torch.cat([relative[:, 0].flip(0), relative[0, 1:], relative[0, :1]])
    bias = None
    for kind, table in tables.items():
        states, sign = (query, 1) if kind == "c2p" else (key, -1)
        pairs = _aligned(states @ table.index_select(2, (sign * from_query + span).clamp(0, 2 * span - 1)))
        part = pairs if kind == "c2p" else pairs.transpose(2, 3)
        bias = part if bias is None else bias + part
    return bias


def _projection(module: Any, kind: str) -> Any:
    """The layer that makes keys (c2p) or queries (p2c) of positions."""
    name = {"c2p": "key_proj", "p2c": "query_proj"}[kind]
    return getattr(module, name if module.share_att_key else f"pos_{name}")


def _aligned(products: torch.Tensor) -> torch.Tensor:
    """`[batch, heads, S, 2 S]`, products of each token with distances S − 1, …, 1 − S -> `[batch, heads, S, S]`, with tokens.

    Token i has token j at the distance i − j, in column S − 1 − i + j: one column further left in each row. In one line, without
    its first S − 1 numbers, rows of 2 S − 1 numbers begin with the pairs.
    """
    batch, heads, length, width = products.shape
    line = products.reshape(batch, heads, length * width)[:, :, length - 1 : length * width - 1]
    return line.reshape(batch, heads, length, width - 1)[:, :, :, :length]


def _scale(head_size: int, module: Any) -> float:
    kinds = 1 + len({"c2p", "p2c"} & set(module.pos_att_type))
    scale: float = (head_size * kinds) ** -0.5
    return scale


BIASES: Mapping[str, Bias] = {
    "shared": Bias(lambda module, query: query.shape[-1] ** -0.5, lambda model, module: None, _shared),
    "disentangled": Bias(lambda module, query: _scale(query.shape[-1], module), _tables, _disentangled),
}
