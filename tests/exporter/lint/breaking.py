"""Ways to break a repository in one place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb


@dataclass(frozen=True)
class Break:
    """`breaks` is given a folder. `also`: other rules that find the same. `where`: how the place that is found begins."""

    rule: str
    where: str
    breaks: Callable[[Path], Any]
    also: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)


def config(model: str, change: Callable[[pb.ModelConfig], Any]) -> Callable[[Path], None]:
    """Changes a config."""

    def breaks(repository: Path) -> None:
        path = repository / model / "config.pbtxt"
        parsed = text_format.Parse(path.read_text(), pb.ModelConfig())
        change(parsed)
        path.write_text(text_format.MessageToString(parsed, as_utf8=True))

    return breaks


def parameter(model: str, key: str, value: str) -> Callable[[Path], None]:
    return config(model, lambda own: setattr(own.parameters[key], "string_value", value))


def accelerator(model: str, index: int, key: str, value: str) -> Callable[[Path], None]:
    def change(own: pb.ModelConfig) -> None:
        own.optimization.execution_accelerators.gpu_execution_accelerator[index].parameters[key] = value

    return config(model, change)


def document(path: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Changes a JSON file."""

    def breaks(repository: Path) -> None:
        content = json.loads((repository / path).read_text())
        change(content)
        (repository / path).write_text(json.dumps(content))

    return breaks


def settings(model: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Changes what clients read of a frontend."""

    def within(own: pb.ModelConfig) -> None:
        content = json.loads(own.parameters["hf2triton"].string_value)
        change(content)
        own.parameters["hf2triton"].string_value = json.dumps(content)

    return config(model, within)


def graph(path: str, change: Callable[[onnx.ModelProto], Any]) -> Callable[[Path], None]:
    def breaks(repository: Path) -> None:
        model = onnx.load(repository / path)
        change(model)
        onnx.save(model, repository / path)

    return breaks


def written(path: str, content: bytes) -> Callable[[Path], None]:
    """A file more, or another content."""
    return lambda repository: (repository / path).write_bytes(content)


def appended(path: str, content: str) -> Callable[[Path], None]:
    def breaks(repository: Path) -> None:
        with (repository / path).open("a") as file:
            file.write(content)

    return breaks


def linked(path: str, target: str | None) -> Callable[[Path], None]:
    """A link in the place of a file: to another file there, or out of the repository."""

    def breaks(repository: Path) -> None:
        moved = repository / target if target else repository.parent / "elsewhere"
        (repository / path).rename(moved)
        (repository / path).symlink_to(moved)

    return breaks


def second_version_alone(repository: Path) -> None:
    """The graph has a newer version, and only that is loaded."""
    shutil.copytree(repository / "gpu_model" / "1", repository / "gpu_model" / "2")
    config("gpu_model", lambda own: setattr(own.version_policy.latest, "num_versions", 1))(repository)


def as_another_frontend(about: Any) -> None:
    about |= {"entry": "gpu", "version": 2}


def other_dims(own: onnx.ModelProto) -> None:
    own.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def deleted(items: Any, index: Any) -> None:
    del items[index]
