"""Models that fail in every way that a model can, made of a few lines for Triton's Python backend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

CONFIG = """name: "%s"
backend: "python"
max_batch_size: 8
input { name: "x" data_type: TYPE_INT64 dims: 1 }
output { name: "y" data_type: TYPE_INT64 dims: 1 }
instance_group { count: 1 kind: KIND_CPU }
model_warmup { name: "a" batch_size: 1 inputs { key: "x" value { data_type: TYPE_INT64 dims: 1 zero_data: true } } }
%s"""
CODE = """
import ctypes, os, time
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        %s

    def execute(self, requests):
        %s
        return [triton.InferenceResponse([triton.Tensor("y", triton.get_input_tensor_by_name(one, "x").as_numpy())])
                for one in requests]
"""
CRASH, LEAVE, RAISE = "ctypes.string_at(0)", "os._exit(3)", "raise ValueError('a reason of its own')"
#: kind -> what it does when it is loaded, and when it is warmed up.
CODES = {
    "well": ("pass", "pass"),
    "raises": (RAISE, "pass"),
    "leaves": (LEAVE, "pass"),
    "crashes": (CRASH, "pass"),
    "raises_at_work": ("pass", RAISE),
    "leaves_at_work": ("pass", LEAVE),
    "crashes_at_work": ("pass", CRASH),
    "hangs": ("time.sleep(1000)", "pass"),
    "misspelt": ("pass(", "pass"),
    "unreadable": ("pass", "pass"),
    "empty": ("pass", "pass"),
}
#: kind -> words of the reason that must be given, or others where Triton has died before it could say them.
REASONS = {
    "raises": "a reason of its own",
    "leaves": "is not healthy",
    "crashes": "is not healthy",
    "raises_at_work": "a reason of its own",
    "leaves_at_work": "warmup sample 'a'|its process ended",
    "crashes_at_work": "warmup sample 'a'|its process ended",
    "hangs": "not loaded within",
    "misspelt": "SyntaxError",
    "unreadable": "failed to read text proto",
    "empty": "model.py",
}


def add(repository: Path, kind: str, name: str | None = None) -> None:
    """A model of a kind."""
    name = name or kind
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG % (name, "nonsense {" if kind == "unreadable" else ""))
    if kind != "empty":
        (version / "model.py").write_text(CODE % CODES[kind])


def out_of_range(entry: Path, target: Path) -> None:
    """A copy of an entry whose tokenizer gives an id that the graph's table has no row for: it fails in its warm-up."""
    shutil.copytree(entry, target)
    config = target / "config.pbtxt"
    config.write_text(config.read_text().replace(f'name: "{entry.name}"', f'name: "{target.name}"', 1))
    raise_ids(target / "1" / "tokenizer.json")


def raise_ids(tokenizer: Path) -> None:
    """The token that begins each text gets an id that no table has."""
    content = json.loads(tokenizer.read_text())
    content["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [9_999_999]
    tokenizer.unlink()  # not through a hard link
    tokenizer.write_text(json.dumps(content))
