"""Which files a checkpoint consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SentenceModule:
    """An entry of modules.json: the last part of its `type`, and its subfolder ("" is the folder itself)."""

    kind: str
    path: str


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies: `given` by the user, `folder` on this machine, `revision` if it came from the hub.

    `config`: the model's config.json. `modules`: of a sentence-transformers folder, in order, the first a Transformer; none
    for any other. `weights`: the files with weights, those of such modules included. `digests`: file -> sha256 of all that the
    checkpoint consists of. Both are empty until they have been looked for. `elsewhere`: "tokenizer", "processor", "generation"
    or "sentences" -> the folder that it lies in, where that is not the model's: an adapter's.
    """

    given: str
    folder: Path
    revision: str | None
    config: Mapping[str, Any]
    modules: tuple[SentenceModule, ...] = ()
    weights: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    @property
    def model_folder(self) -> Path:
        """The folder with the weights, which sentence-transformers may put into a subfolder."""
        return self.folder / (self.modules[0].path if self.modules else "")

    @property
    def safetensors(self) -> tuple[Path, ...]:
        """The model's own files of weights, without those of layers that sentence-transformers put after it."""
        files = (self.folder / name for name in self.weights if name.endswith(".safetensors"))
        return tuple(path for path in files if path.parent == self.model_folder)

    @property
    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer that is served, and with what sentence-transformers writes beside it."""
        return self.elsewhere.get("tokenizer", self.model_folder)

    @property
    def processor_folder(self) -> Path:
        """The folder with the image processor that is served."""
        return self.elsewhere.get("processor", self.model_folder)

    @property
    def generation_folder(self) -> Path:
        """The folder with the generation config."""
        return self.elsewhere.get("generation", self.model_folder)

    @property
    def sentence_folder(self) -> Path | None:
        """The folder with what sentence-transformers says of a model; None where it says nothing."""
        return self.elsewhere.get("sentences", self.folder if self.modules else None)

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickles, which were allowed."""
        return not self.safetensors
