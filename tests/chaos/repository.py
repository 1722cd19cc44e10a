"""The models of a chaos run: small trained checkpoints, and second versions of them that a stale client would misread."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..support import ASSETS

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Role:
    """A model of the run. `second`: changes the config and the weights of its checkpoint into those of version 2. `runner`: "bls"
    has the graph run in a model of its own."""

    asset: str
    task: str
    second: Callable[[dict[str, Any], Tensors], None] | None = None
    runner: str = "inprocess"


def _rotate_labels(config: dict[str, Any], tensors: Tensors) -> None:
    """Each label moves on by one, and with it the row of the classifier: the answers stay the same, the logits do not."""
    labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
    labels = [*labels[1:], labels[0]]
    config["id2label"] = {str(index): label for index, label in enumerate(labels)}
    config["label2id"] = {label: index for index, label in enumerate(labels)}
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name].roll(-1, 0).contiguous()


def _rotate_embeddings(config: dict[str, Any], tensors: Tensors) -> None:
    """Both towers embed into the same space turned round, at half the scale: embeddings of both versions never go together."""
    for name in ("visual_projection.weight", "text_projection.weight"):
        tensors[name] = tensors[name].roll(-7, 0).contiguous()
    tensors["logit_scale"] = tensors["logit_scale"] - math.log(2)


ROLES = {
    "sentiment": Role("bert-sentiment", "text-classification", _rotate_labels),
    "entities": Role("bert-ner", "token-classification", _rotate_labels, runner="bls"),
    "answers": Role("bert-qa", "question-answering"),
    "blanks": Role("bert-mlm", "fill-mask"),
    "clothes": Role("vit-fashion", "image-classification", _rotate_labels),
    "pictures": Role("clip-fashion", "zero-shot-image-classification", _rotate_embeddings),
    "verses": Role("gpt2-verses", "text-generation"),
}


@dataclass(frozen=True)
class Models:
    """`exported`: both versions of each entry, as an export leaves them. `served`: what a server reads, at first version 1 alone.
    Where there are no second versions (`--repository`), `exported` is None."""

    served: Path
    exported: Path | None

    def second_versions(self) -> list[str]:
        """The entries that have a version 2."""
        return [] if self.exported is None else [name for name, role in ROLES.items() if role.second]


def take(repository: Path, folder: Path) -> Models:
    """A copy of a repository that was exported before, whatever its entries are called."""
    return Models(_copied(repository, folder / "model_repository"), None)


def make(folder: Path, cache: Path | None = None, progress: Callable[[str], None] = lambda text: None) -> Models:
    """Exports every role, in parallel. `cache`: where the exports are kept for the next run."""
    exported = (cache or folder) / "exported"
    first = (cache or folder) / "first"
    if not (exported / ".complete").exists():
        for old in (exported, first):
            shutil.rmtree(old, ignore_errors=True)
        progress(f"exporting {len(ROLES)} models")
        _export_all([(name, exported, None) for name in ROLES])
        shutil.copytree(exported, first)
        seconds = {name: role for name, role in ROLES.items() if role.second}
        progress(f"exporting second versions of {', '.join(seconds)}")
        sources = folder / "second"
        _export_all([(name, exported, _changed(role, sources / name)) for name, role in seconds.items()])
        (exported / ".complete").touch()
    return Models(_copied(first, folder / "model_repository"), exported)


def _copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
    return target


def _changed(role: Role, target: Path) -> Path:
    """A copy of a role's checkpoint that its second version is made from."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(ASSETS / role.asset, target)
    config = json.loads((target / "config.json").read_text())
    tensors = load_file(target / "model.safetensors")
    role.second(config, tensors)
    (target / "config.json").write_text(json.dumps(config))
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


def _export_all(jobs: list[tuple[str, Path, Path | None]]) -> None:
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
        for done in [pool.submit(_export, *job) for job in jobs]:
            done.result()


def _export(name: str, repository: Path, source: Path | None) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    from hf2triton.core.options import ExportOptions
    from hf2triton.export.pipeline import export

    role = ROLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = str(source or ASSETS / role.asset)
        export(ExportOptions(source, name, task=role.task, repository=repository, runner=role.runner))
