"""What a task takes from a model, as torch modules: the reference and the exported graph run the same ones."""

from __future__ import annotations

from typing import Any

import torch

from ..artifacts import Checkpoint, Pooling

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
        if self.spec.normalize:
            norm = torch.sqrt((embedding * embedding).sum(dim=-1, keepdim=True))
            embedding = embedding / norm.clamp(min=1e-12)
        return embedding


class TaskModel(torch.nn.Module):
    """A checkpoint's model with the output of its task: inputs by position, one tensor out.

    The output is `logits` (`[batch, labels]` or `[batch, sequence, labels]`), `last_hidden_state`
    (`[batch, sequence, hidden]`) or `embedding` (`[batch, hidden]`).
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = checkpoint.model
        self.inputs = checkpoint.family.inputs
        self.output = checkpoint.task.output
        if checkpoint.pooling is not None:
            self.pooling = Pool(checkpoint.pooling)
        self.eval()

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        arguments: dict[str, Any] = dict(zip(self.inputs, tensors, strict=True))
        outputs = self.model(**arguments, return_dict=True)
        if self.output == "embedding":
            return self.pooling(outputs.last_hidden_state, arguments["attention_mask"])
        return outputs[self.output]
