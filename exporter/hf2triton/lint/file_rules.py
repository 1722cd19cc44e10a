"""Files: those that differ from what was written, those that do not belong there, and the code that a server would run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..core.layout import is_candidate
from ..repository.integrity import damages
from ..repository.transaction import JOURNAL
from .finding import ERROR, NOTE, WARNING, Problem, Rule
from .models import Lint, Model
from .python_audit import audit

#: Suffixes of files that are or contain pickles. Loading a pickle runs the code in it.
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt")
#: Suffixes of libraries and compiled code, which no digest of a Python file covers.
_COMPILED = (".so", ".pyc", ".pyd", ".dll", ".dylib")
#: Backends whose models are such files.
_NATIVE = {".pt": ("pytorch",), ".pth": ("pytorch",), ".so": ("tensorrt", "custom")}


def _files(model: Model) -> Iterator[Path]:
    """All files of a model, including links, which are not followed."""
    for folder, folders, names in os.walk(model.folder):
        for name in sorted([*names, *(one for one in folders if (Path(folder) / one).is_symlink())]):
            yield Path(folder) / name


def _where(model: Model, path: Path) -> str:
    return str(path.relative_to(model.repository))


def damaged(lint: Lint, model: Model) -> Iterator[Problem]:
    # without a config, it is unknown which version is served, and therefore which version's digests these are
    if model.manifest is None or model.parsed[1] is not None:
        return
    try:
        found = list(damages(model.repository, model.name, model.manifest))
    except (OSError, KeyError) as error:
        yield Problem(model.name, f"its digests cannot be checked: {error!r}. Export or publish it again")
        return
    for one in found:
        path, _, what = one.partition(" ")
        yield Problem(path, f"it {what}; hf2triton export or publish puts back what was proved")


def without_manifest(lint: Lint, model: Model) -> Iterator[Problem]:
    frontend = lint.frontend_of(model)
    if model.manifest is None and (frontend is None or frontend.manifest is None):
        yield Problem(model.name, "it has no manifest: its digests, its release and its memory were not checked")


def pickled(lint: Lint, model: Model) -> Iterator[Problem]:
    caches = set()
    for path in _files(model):
        suffix = path.suffix.lower()
        if path.parent.name == "__pycache__" and (path.parents[1] / f"{path.name.split('.')[0]}.py").is_file():
            caches.add(path.parent)  # Python writes them wherever it may
        elif model.backend in _NATIVE.get(suffix, ()):
            continue
        elif suffix in _PICKLES or (suffix == ".bin" and _begins_like_a_pickle(path)):
            yield Problem(_where(model, path), "it is a pickle: anyone who loads it runs what is in it. Remove it")
        elif suffix in _COMPILED:
            yield Problem(_where(model, path), "it is compiled code, which nobody can look at: remove it", WARNING)
    if caches:  # one finding for all: serving a model once puts them in every folder of its code
        yield Problem(
            _where(model, Path(os.path.commonpath(caches))),
            "Python keeps compiled code here, which no digest vouches for: give the server the repository read-only",
            NOTE,
            more=tuple(_where(model, folder) for folder in sorted(caches)),
        )


def _begins_like_a_pickle(path: Path) -> bool:
    """Whether a file begins like a pickle of protocol 2 or later, or like the zip archive in which PyTorch stores a pickle."""
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError:
        return False
    return (beginning[:1] == b"\x80" and beginning[1:2] in (b"\2", b"\3", b"\4", b"\5")) or beginning == b"PK\3\4"


def links_out(lint: Lint, model: Model) -> Iterator[Problem]:
    root = model.repository.resolve()
    for path in [model.folder, *_files(model)]:
        if not path.is_symlink():
            continue
        target = path.resolve()
        if not target.is_relative_to(root):
            yield Problem(
                _where(model, path),
                f"it is a link to {target}, outside the repository: put the file itself there",
                ERROR,
            )
        elif path.suffix in (".onnx", ".data"):
            yield Problem(
                _where(model, path),
                "it is a link: onnxruntime refuses weights behind links from 1.24 on. Put the file there",
            )


def writable(lint: Lint, model: Model) -> Iterator[Problem]:
    # anyone who may write to a folder may replace what is in it
    for path in [model.folder, *(folder for folder in model.folder.rglob("*") if folder.is_dir()), *_files(model)]:
        if not path.is_symlink() and path.exists() and path.stat().st_mode & stat.S_IWOTH:
            yield Problem(_where(model, path), "every user of this machine may change it: chmod -R o-w")


def misbehaving(lint: Lint, model: Model) -> Iterator[Problem]:
    for path in _files(model):
        if path.suffix != ".py" or not path.is_file():
            continue
        where = _where(model, path)
        try:
            found = audit(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            yield Problem(where, f"it is not Python that can be read: {error}")
            continue
        for one in found:
            yield Problem(
                f"{where}:{one.line}",
                f"{one.name} {one.what}, which code within a server must not. Export the entry again",
            )


def left_over(lint: Lint) -> Iterator[Problem]:
    if (lint.repository / JOURNAL).exists():
        yield Problem(
            JOURNAL,
            "the journal of a transaction that was interrupted: the next export, publish, rollback or prune clears up",
        )
    for path in sorted(lint.repository.iterdir()):
        if path.is_dir() and is_candidate(path.name):
            yield Problem(
                path.name,
                "a publisher was killed while it tried this version: the next export, publish, rollback or prune clears up",
            )


RULES = (
    Rule("digest", ERROR, "model", "a file that is not what its manifest says", damaged),
    Rule("manifest-none", NOTE, "model", "a model without a manifest, of which less can be checked", without_manifest),
    Rule("file-pickle", ERROR, "model", "a pickle, or compiled code", pickled),
    Rule("file-link", WARNING, "model", "a link out of the repository, or in the place of a graph", links_out),
    Rule("file-writable", ERROR, "model", "a file that every user may change", writable),
    Rule(
        "python-code",
        ERROR,
        "model",
        "served Python that evaluates, unpickles, starts processes, writes or connects",
        misbehaving,
    ),
    Rule("repository-leftover", WARNING, "repository", "what a publisher that was killed has left", left_over),
)
