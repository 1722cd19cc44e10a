"""A model with a task's outputs, as torch modules. The reference and the exported graph run the same modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..core.embedding import Normalize, Pooling, SentenceFolder, Splade
from ..core.types import Checkpoint
from ..tasks.base import Endpoint
from .embedding_layers import Normalized
from .pooling import Largest, Pool, SpladePool, TokenLayers

#: The submodule whose nodes stay fp32 in an fp16 graph: sums over up to 512 tokens, logarithms, and divisions by lengths.
FULL_PRECISION = "pooling"
#: A model's outputs and a mask `[batch, sequence]` -> the task's outputs by name.
Embed = Callable[[Any, torch.Tensor], dict[str, torch.Tensor]]
#: Output -> the function that computes it from the model's outputs.
TAKES: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "logits": lambda outputs: outputs.logits,
    "span_logits": lambda outputs: torch.stack([outputs.start_logits, outputs.end_logits], dim=-1),
    "last_hidden_state": lambda outputs: outputs.last_hidden_state,
    "cls_embedding": lambda outputs: outputs.last_hidden_state[:, 0],
    "pooler_output": lambda outputs: outputs.pooler_output,
}


class TaskModel(torch.nn.Module):
    """A checkpoint's model with the outputs of one part of its task. Takes inputs by position, returns a tuple of tensors.

    The input `mask_positions` (`[batch, masks]`) limits a masked language model's head to these positions; `logits` is then
    `[batch, masks, vocabulary]`. The input `pooling_mask` (`[batch, sequence]`) excludes tokens from an embedding where it is 0.
    """

    def __init__(self, checkpoint: Checkpoint, endpoint: Endpoint) -> None:
        super().__init__()
        self.inputs = graph_inputs(checkpoint, endpoint)
        self.outputs = tuple(output.name for output in checkpoint.outputs[endpoint.suffix])
        self.model = checkpoint.model
        self.divides_by_length = checkpoint.family.divides_by_length
        self.projection = None
        self.pooling: torch.nn.Module
        if checkpoint.family.towers and self.outputs == ("embedding",):
            tower, projection = checkpoint.family.towers[endpoint.modality]
            self.model = getattr(checkpoint.model, tower)
            self.projection = torch.nn.Identity() if projection is None else getattr(checkpoint.model, projection)
            self.pooling = Normalized()
        self.embed = None if checkpoint.sentences is None else self._embedding(checkpoint.sentences)
        self.eval()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arguments: dict[str, Any] = dict(zip(self.inputs, tensors, strict=True))
        pooling_mask = arguments.pop("pooling_mask", None)
        if self.divides_by_length:
            arguments["attention_mask"] = _never_empty(arguments["attention_mask"])
        with _head_limited_to(self.model, arguments.pop("mask_positions", None)):
            outputs = self.model(**arguments, return_dict=True)
        if self.projection is not None:
            return (self.pooling(self.projection(outputs.pooler_output)),)
        if self.embed is not None:
            mask = arguments["attention_mask"]
            made = self.embed(outputs, mask if pooling_mask is None else mask * pooling_mask)
            return tuple(made[name] for name in self.outputs)
        return tuple(TAKES[name](outputs) for name in self.outputs)

    def _embedding(self, sentences: SentenceFolder) -> Embed:
        """Makes the modules that turn the model's outputs into embeddings, and the function that runs them."""
        spec, layers = sentences.pooling, sentences.token_layers
        if isinstance(spec, Splade):
            # a maximum loses nothing in fp16
            self.largest = Largest() if spec.strategy == "max" else None
            self.pooling = SpladePool(spec)
            return self._sparse
        if isinstance(spec, Pooling):
            self.token_layers, self.pooling = TokenLayers(layers), Pool(spec)
            return self._pooled
        ends = bool(layers) and isinstance(layers[-1], Normalize)
        self.token_layers = TokenLayers(layers[:-1] if ends else layers)
        self.pooling = Normalized() if ends else torch.nn.Identity()
        return self._of_tokens

    def _sparse(self, outputs: Any, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = outputs.logits if self.largest is None else self.largest(outputs.logits, mask)
        return {"sparse_embedding": self.pooling(logits, mask)}

    def _pooled(self, outputs: Any, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.token_layers(outputs.last_hidden_state)
        return {"embedding": self.pooling(states, mask), "token_embeddings": states}

    def _of_tokens(self, outputs: Any, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"token_embeddings": self.pooling(self.token_layers(outputs.last_hidden_state))}


def _never_empty(mask: torch.Tensor) -> torch.Tensor:
    """The mask `[batch, sequence]`, with the first token of rows that have none."""
    empty = (mask.sum(dim=1, keepdim=True) == 0).to(mask.dtype)
    return torch.cat([mask[:, :1] + empty, mask[:, 1:]], dim=1)


def graph_inputs(checkpoint: Checkpoint, endpoint: Endpoint) -> tuple[str, ...]:
    """The names of the graph's inputs, in order."""
    own = checkpoint.family.inputs[endpoint.modality]
    if checkpoint.sentences is not None and not checkpoint.sentences.pooling.include_prompt:
        return (*own, "pooling_mask")
    return (*own, "mask_positions") if any(output.per == "mask" for output in endpoint.outputs) else own


@contextmanager
def _head_limited_to(model: Any, positions: torch.Tensor | None) -> Iterator[None]:
    """Limits a model's head to the states at some positions: `[batch, sequence, hidden]` -> `[batch, masks, hidden]`.

    The head of a masked language model costs as much as several layers, mostly for tokens that are not masked.
    """
    if positions is None:
        yield
        return

    def gather(module: torch.nn.Module, arguments: Any, outputs: Any) -> Any:
        states = outputs.last_hidden_state
        outputs["last_hidden_state"] = states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        return outputs

    base_model: torch.nn.Module = model.base_model
    handle = base_model.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()
