"""Entries that are replaced on a server: another version appears in the repository as a publisher makes it appear."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.core.layout import CONFIG, FRONT, GRAPH
from hf2triton.repository.config import to_text
from hf2triton.serving import Server
from hf2triton_client.transport.served_model import PARAMETER

#: What is done with the settings that a config has for callers.
Change = Callable[[dict[str, Any]], None]


class Entries:
    """Copies of some frontends of a repository, at `place`, and later a `server` on them. What a test replaces is put back by
    `restore`."""

    def __init__(self, repository: Path, place: Path, frontends: Sequence[str]) -> None:
        self.place = place
        self.server: Server | None = None
        self._repository = repository
        self._touched: set[str] = set()
        for frontend in frontends:
            shutil.copytree(repository / frontend, place / frontend)

    def replace(
        self,
        frontend: str,
        change: Change = lambda settings: None,
        number: int = 2,
        *,
        max_batch_size: int | None = None,
        turned_round: bool = False,
    ) -> None:
        """Serves a version made of the first one. With its number it takes its place, as in an entry that was removed and
        exported again. `turned_round`: it gives embeddings with the other sign, as another training may."""
        folder = self.place / frontend
        self._touched.add(frontend)
        if number != 1:
            shutil.copytree(folder / "1", folder / str(number), dirs_exist_ok=True)
        config = text_format.Parse((folder / "1" / CONFIG).read_text(), pb.ModelConfig())
        settings = json.loads(config.parameters[PARAMETER].string_value)
        change(settings)
        config.parameters[PARAMETER].string_value = json.dumps(settings, ensure_ascii=False, sort_keys=True)
        config.version_policy.specific.versions[:] = [number]
        config.max_batch_size = max_batch_size or config.max_batch_size
        if "generation" in settings:
            about = json.loads((folder / str(number) / FRONT).read_text())
            about["generation"] |= settings["generation"]["defaults"]
            _write(folder / str(number) / FRONT, json.dumps(about))
        if turned_round:
            _turn_round(folder / str(number) / GRAPH)
        _write(folder / str(number) / CONFIG, to_text(config))
        _write(folder / CONFIG, to_text(config))
        self._load(frontend)

    def back(self, frontend: str) -> None:
        """Serves the first version again, as `rollback` does."""
        _write(self.place / frontend / CONFIG, (self.place / frontend / "1" / CONFIG).read_text())
        self._load(frontend)

    def restore(self) -> None:
        """Serves what was there at the beginning."""
        for frontend in sorted(self._touched):
            shutil.rmtree(self.place / frontend)
            shutil.copytree(self._repository / frontend, self.place / frontend)
            self._load(frontend)
        self._touched.clear()

    def _load(self, frontend: str) -> None:
        if self.server is not None:
            self.server.load(frontend)


def reversed_labels(settings: dict[str, Any]) -> None:
    """The names of the labels in reverse order."""
    labels = list(settings["id2label"].values())
    settings["id2label"] = dict(zip(settings["id2label"], reversed(labels), strict=True))


def _turn_round(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    [last] = [node for node in model.graph.node if "embedding" in node.output]
    last.output[list(last.output).index("embedding")] = "embedding_before"
    model.graph.node.append(onnx.helper.make_node("Neg", ["embedding_before"], ["embedding"]))
    path.unlink()
    onnx.save(model, path)


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
