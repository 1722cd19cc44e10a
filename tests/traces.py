"""PyTorch's traces, each made once a session: tracing takes most of an export's time, and exports of one model often differ only
in what follows it.

A trace depends on the model alone, as long as code stays as it is: a test that changes code which runs while a model is traced
calls `torch.onnx.export.__wrapped__`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx_ir as ir
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.utils import _pytree as pytree
from transformers import PreTrainedConfig

_NAMES = "names"


def share(folder: Path) -> None:
    """From now on, this process takes from a folder what it or another process has traced before."""
    folder.mkdir(parents=True, exist_ok=True)
    # the table of ops that PyTorch makes anew for each export is the same each time
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
    export = torch.onnx.export

    @functools.wraps(export)
    def traced(module: torch.nn.Module, example: Any, **options: Any) -> Any:
        path = folder / digest_of(module, example, options)
        if path.exists():
            return SimpleNamespace(model=load(path))
        program = export(module, example, **options)
        own = path.with_suffix(f".{os.getpid()}")
        save(program.model.clone(), own)
        own.rename(path)
        return program

    torch.onnx.export = traced


def save(model: ir.Model, path: Path) -> None:
    """Graphs in files have each name once, unlike those of PyTorch: names are numbers there."""
    values = list(_values(model))
    model.metadata_props[_NAMES] = json.dumps([value.name for value in values])
    for number, value in enumerate(values):
        value.name = str(number)
    ir.save(model, path)


def load(path: Path) -> ir.Model:
    model = ir.load(path)
    for value, name in zip(_values(model), json.loads(model.metadata_props.pop(_NAMES)), strict=True):
        value.name = name
    return model


def _values(model: ir.Model) -> Iterator[ir.Value]:
    return (value for node in model.graph for value in node.outputs)


def digest_of(module: torch.nn.Module, example: Any, options: dict[str, Any]) -> str:
    """Of all that a trace depends on: classes, settings, tensors and which of them are the same, and the example's shapes."""
    parts = [
        repr([(tensor.shape, tensor.dtype) for tensor in pytree.tree_leaves(example)]),
        repr(sorted(options.items())),
    ]
    for name, one in module.named_modules():
        parts.append(f"{name} {type(one)} {one.extra_repr()}")
        parts += [f"{key} {_text(value)}" for key, value in sorted(vars(one).items()) if _tells(key)]
    digest = hashlib.sha256(re.sub(r" at 0x\w+", "", "\n".join(parts)).encode())
    names: dict[int, str] = {}
    tensors = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    for name, tensor in itertools.chain(*tensors):
        same = names.setdefault(id(tensor), name)
        digest.update(f"{name} {same} {tensor.dtype} {tensor.shape}".encode())
        if same == name:
            digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _tells(attribute: str) -> bool:
    """Whether a module's attribute may say what it computes, other than where it was read."""
    return not attribute.startswith("_") and attribute != "name_or_path"


def _text(value: Any) -> str:
    if isinstance(value, PreTrainedConfig):  # whose own text says where it was read, and not how the model attends
        return repr([value._attn_implementation, sorted((value.to_dict() | {"_name_or_path": ""}).items(), key=str)])
    return repr(value)
