"""What a task takes from a model, as torch modules: the reference and the exported graph run the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..artifacts import Checkpoint, Pooling
from ..tasks import Part

#: The submodule whose nodes stay fp32 in an fp16 graph: sums over up to 512 tokens and divisions by lengths.
FULL_PRECISION = "pooling"


class Pool(torch.nn.Module):
    """Token states `[batch, sequence, hidden]` -> embedding `[batch, hidden]`.

    As in sentence-transformers: the mean over a row's own tokens, or its first token; then, if asked, length 1.
    """

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.spec = pooling

    def forward(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.spec.mode == "mean":
            weights = attention_mask.unsqueeze(-1).to(states.dtype)
            embedding = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
        else:
            embedding = states[:, 0]
        return normalized(embedding) if self.spec.normalize else embedding


class Normalize(torch.nn.Module):
    """Embeddings `[batch, hidden]`, scaled to length 1."""

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        return normalized(embedding)


def normalized(embedding: torch.Tensor) -> torch.Tensor:
    norm = torch.sqrt((embedding * embedding).sum(dim=-1, keepdim=True))
    return embedding / norm.clamp(min=1e-12)


#: Output -> what makes it of the model's outputs.
TAKES: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "logits": lambda outputs: outputs.logits,
    "span_logits": lambda outputs: torch.stack([outputs.start_logits, outputs.end_logits], dim=-1),
    "last_hidden_state": lambda outputs: outputs.last_hidden_state,
    "cls_embedding": lambda outputs: outputs.last_hidden_state[:, 0],
    "pooler_output": lambda outputs: outputs.pooler_output,
}


class TaskModel(torch.nn.Module):
    """A checkpoint's model with the outputs of one part of its task: inputs by position, a tuple of tensors out.

    An input `mask_positions` (`[batch, masks]`) limits a masked language model's head to these positions, so that
    `logits` is `[batch, masks, vocabulary]`.
    """

    def __init__(self, checkpoint: Checkpoint, part: Part) -> None:
        super().__init__()
        self.inputs = graph_inputs(checkpoint, part)
        self.outputs = tuple(output.name for output in checkpoint.outputs[part.suffix])
        self.model = checkpoint.model
        self.projection = None
        if checkpoint.family.towers:
            tower, projection = checkpoint.family.towers[part.modality]
            self.model, self.projection = getattr(checkpoint.model, tower), getattr(checkpoint.model, projection)
            self.pooling = Normalize()
        elif checkpoint.pooling is not None:
            self.pooling = Pool(checkpoint.pooling)
        self.eval()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arguments: dict[str, Any] = dict(zip(self.inputs, tensors, strict=True))
        with _head_limited_to(self.model, arguments.pop("mask_positions", None)):
            outputs = self.model(**arguments, return_dict=True)
        if self.projection is not None:
            return (self.pooling(self.projection(outputs.pooler_output)),)
        if self.outputs == ("embedding",):
            return (self.pooling(outputs.last_hidden_state, arguments["attention_mask"]),)
        return tuple(TAKES[name](outputs) for name in self.outputs)


def graph_inputs(checkpoint: Checkpoint, part: Part) -> tuple[str, ...]:
    """The names of the graph's inputs, in order."""
    own = checkpoint.family.inputs[part.modality]
    return (*own, "mask_positions") if any(output.per == "mask" for output in part.outputs) else own


@contextmanager
def _head_limited_to(model: torch.nn.Module, positions: torch.Tensor | None) -> Iterator[None]:
    """Lets a model's head see the states at some positions alone: `[batch, sequence, hidden]` -> `[batch, masks, hidden]`.

    The head of a masked language model costs as much as several layers, for tokens that nobody asks about.
    """
    if positions is None:
        yield
        return

    def gather(module: torch.nn.Module, arguments: Any, outputs: Any) -> Any:
        states = outputs.last_hidden_state
        outputs["last_hidden_state"] = states.gather(1, positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        return outputs

    handle = model.base_model.register_forward_hook(gather)
    try:
        yield
    finally:
        handle.remove()
