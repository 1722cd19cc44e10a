"""Which files a checkpoint consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SentenceModule:
    """An entry of modules.json: the last component of its `type`, and its subfolder ("" for the folder itself)."""

    kind: str
    path: str


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies: as `given` by the user, its `folder` on this machine, and its `revision` if it is from the hub.

    `config`: the model's config.json. `modules`: the modules of a sentence-transformers folder, in order, the first a
    Transformer; empty for any other folder. `weights`: the files with weights, including those of such modules. `digests`:
    file -> sha256, for all files of the checkpoint. `weights` and `digests` are empty until they are read. `elsewhere`:
    "tokenizer", "processor", "generation" or "sentences" -> its folder, if that is an adapter's and not the model's.
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
        """The folder with the weights; sentence-transformers may put them into a subfolder."""
        return self.folder / (self.modules[0].path if self.modules else "")

    @property
    def safetensors(self) -> tuple[Path, ...]:
        """The model's weight files, without those of the layers that sentence-transformers puts after it."""
        files = (self.folder / name for name in self.weights if name.endswith(".safetensors"))
        return tuple(path for path in files if path.parent == self.model_folder)

    @property
    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer that is served, and with the files that sentence-transformers writes beside it."""
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
        """The folder with sentence-transformers' files about a model; None if there are none."""
        return self.elsewhere.get("sentences", self.folder if self.modules else None)

    @property
    def pickled(self) -> bool:
        """Whether the weights are pickles (only found if pickles were allowed)."""
        return not self.safetensors
