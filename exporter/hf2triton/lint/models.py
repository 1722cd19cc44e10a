"""A model repository as rules see it. Any Triton repository works; models written by hf2triton also have a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client.transport.served_model import PARAMETER

from ..core.frontend_settings import FrontendSettings, read_settings
from ..core.layout import CONFIG, MANIFEST, entries, graph_in, graph_model, is_candidate, versions
from ..core.manifest import Manifest, read_manifest
from ..errors import NewerFormat, RepositoryError

#: `platform` of a config that names no backend -> the backend.
_PLATFORMS = {"onnxruntime_onnx": "onnxruntime", "ensemble": "ensemble"}


@dataclass(frozen=True)
class Model:
    """One model's folder."""

    repository: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.repository / self.name

    @cached_property
    def text(self) -> str | None:
        """The text of its config.pbtxt; None if there is none."""
        try:
            return (self.folder / CONFIG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    @cached_property
    def parsed(self) -> tuple[pb.ModelConfig, str | None]:
        """The config, and why it cannot be read; in that case the config is empty."""
        if self.text is None:
            return pb.ModelConfig(), None
        try:
            return text_format.Parse(self.text, pb.ModelConfig()), None
        except text_format.ParseError as error:
            return pb.ModelConfig(), str(error)

    @property
    def config(self) -> pb.ModelConfig:
        return self.parsed[0]

    @property
    def backend(self) -> str:
        return str(self.config.backend or _PLATFORMS.get(self.config.platform, self.config.platform))

    @cached_property
    def versions(self) -> list[int]:
        """The versions on disk, oldest first. Triton ignores folders whose names begin with a zero."""
        return [number for number in versions(self.folder) if number]

    @property
    def loaded(self) -> list[int]:
        """The versions that Triton loads according to the policy."""
        policy = self.config.version_policy
        kind = policy.WhichOneof("policy_choice")
        if kind == "specific":
            return [number for number in self.versions if number in policy.specific.versions]
        if kind == "all":
            return self.versions
        return self.versions[-(policy.latest.num_versions or 1) :]

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest of the newest loaded version; None if hf2triton did not write the model, or the manifest cannot be read.
        Raises NewerFormat."""
        try:
            return read_manifest(self.folder / str(self.loaded[-1]) / MANIFEST) if self.loaded else None
        except NewerFormat:
            raise
        except RepositoryError:
            return None

    @cached_property
    def settings(self) -> Mapping[str, Any] | None:
        """What clients read about a frontend: the JSON of the parameter `hf2triton`. None if it is missing or cannot be read."""
        if PARAMETER not in self.config.parameters:
            return None
        try:
            found = json.loads(self.config.parameters[PARAMETER].string_value)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def frontend(self, version: int) -> FrontendSettings | None:
        """The settings that the frontend of a version reads when it starts; None if it reads none of hf2triton's."""
        try:
            return read_settings(self.folder / str(version))
        except RepositoryError:
            return None

    def graph(self, version: int) -> Path:
        """The path of a version's graph, if it has one."""
        return graph_in(self.folder / str(version))

    @property
    def on_gpu(self) -> bool:
        return any(group.kind == pb.ModelInstanceGroup.KIND_GPU for group in self.config.instance_group)


@dataclass(frozen=True)
class Lint:
    """Everything that rules look at. `every`: all models of the repository, by name; `models`: those to check.
    `gpu_memory`: bytes of a GPU; None: as the manifests say. `server`: a `server.Seen`, if a server was named."""

    repository: Path
    every: Mapping[str, Model]
    models: tuple[Model, ...]
    gpu_memory: int | None = None
    server: Any = None

    def release(self, model: Model) -> str | None:
        """The release that serves a model: the server's, or the release it was exported for. None: any."""
        if self.server is not None and self.server.release is not None:
            return str(self.server.release)
        frontend = model if model.manifest else self.frontend_of(model)
        return None if frontend is None or frontend.manifest is None else frontend.manifest.graph.release

    def frontend_of(self, model: Model) -> Model | None:
        """The frontend of a model that holds a graph."""
        return next((one for name, one in self.every.items() if graph_model(name) == model.name), None)

    def line(self, model: Model, text: str) -> str:
        """Where a text is in a model's config: `config.pbtxt:LINE`."""
        for number, line in enumerate((model.text or "").splitlines(), 1):
            if re.search(rf"(?<![\w.]){re.escape(text)}(?![\w.])", line):
                return f"{model.name}/{CONFIG}:{number}"
        return f"{model.name}/{CONFIG}"


def read_repository(repository: Path, names: tuple[str, ...] = (), gpu_memory: int | None = None) -> Lint:
    """Returns the models of a repository. `names`: names of models, or of entries, which stand for their frontends and graphs.
    Raises RepositoryError."""
    if not repository.is_dir():
        raise RepositoryError(f"there is no model repository at {repository}")
    folders = sorted(
        path.name
        for path in repository.iterdir()
        if path.is_dir() and not path.name.startswith(".") and not is_candidate(path.name)
    )
    every = {name: Model(repository, name) for name in folders}
    if not every:
        raise RepositoryError(f"{repository} holds no models; hf2triton export puts one there")
    if not names:
        return Lint(repository, every, tuple(every.values()), gpu_memory)
    chosen: dict[str, Model] = {}
    for name in names:
        of_entry = [one for one in entries(repository) if (own := every[one].manifest) and own.owner == name]
        found = [one for own in dict.fromkeys([name, *of_entry]) for one in (own, graph_model(own)) if one in every]
        if not found:
            raise RepositoryError(f"{repository} has no model or entry {name!r} (known: {', '.join(every)})")
        chosen |= {one: every[one] for one in found}
    return Lint(repository, every, tuple(chosen.values()), gpu_memory)
