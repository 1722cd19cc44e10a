"""What a row of the tables is made of, and the ways in which checkpoints are made odd."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class Equal:
    """The export succeeds, and the served pipeline, called once with each of `inputs` and with `options`, gives what the judge
    gives, scores within `atol`.

    `judge`: makes the judge of the checkpoint's folder; None: `judges.judge_of`, which is transformers' own pipeline, or
    SentenceTransformer.encode. `method`: of our pipeline; None: the call itself, or `encode`, as the judge is.
    """

    inputs: Sequence[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    judge: Callable[[Path], Callable[..., Any]] | None = None
    method: str | None = None
    atol: float = 1e-4


@dataclass(frozen=True)
class Refused:
    """The export is refused with an error that contains all of `words`, on one line. `early`: before torch is imported."""

    words: Sequence[str]
    exit_code: int = 1
    early: bool = True


@dataclass(frozen=True)
class Case:
    """`asset`: the trained checkpoint that is copied. `change`: makes the copy odd, and may return another folder, which is
    then exported. `options`: of the export, by their names in ExportOptions; `{folder}` in a text stands for the copy."""

    name: str
    asset: str
    change: Callable[[Path], Any]
    outcome: Equal | Refused
    options: Mapping[str, Any] = field(default_factory=dict)


def all_of(*changes: Callable[[Path], Any]) -> Callable[[Path], None]:
    """One change after the other."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def edited(file: str, drop: Sequence[str] = (), **values: Any) -> Callable[[Path], None]:
    """Keys of a JSON file set, and others taken out; a file that is not there is made."""

    def change(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text("utf-8")) if path.exists() else {}
        content = {name: value for name, value in (content | values).items() if name not in drop}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")

    return change


def config(drop: Sequence[str] = (), **values: Any) -> Callable[[Path], None]:
    """Keys of config.json set, and others taken out."""
    return edited("config.json", drop, **values)


def without(*patterns: str) -> Callable[[Path], None]:
    """Files removed."""

    def change(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return change


def weights(change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray] | None]) -> Callable[[Path], None]:
    """The tensors of model.safetensors changed in place, or replaced by what `change` returns."""

    def rewrite(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        tensors = change(tensors) or tensors
        save_file({name: np.asarray(array, order="C") for name, array in tensors.items()}, path, {"format": "pt"})

    return rewrite


def renamed(*pairs: tuple[str, str]) -> Callable[[Path], None]:
    """Parts of tensors' names replaced."""

    def change(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        result = {}
        for name, array in tensors.items():
            for old, new in pairs:
                name = name.replace(old, new)
            result[name] = array
        return result

    return weights(change)


def saved(change: Callable[[Any, Any], None], auto_class: str) -> Callable[[Path], None]:
    """Loaded with transformers' `auto_class` and its tokenizer, changed, and saved again, as a user would."""

    def rewrite(folder: Path) -> None:
        import transformers

        model = getattr(transformers, auto_class).from_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        change(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return rewrite
