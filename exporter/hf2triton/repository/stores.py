"""Where a repository is kept: a folder, or objects in S3, Google Cloud Storage or Azure.

What is written goes through four steps, on every kind of store: `stage` writes a model's files where no config names them yet
and reads them back, `add` puts them into their place, `put` replaces a config, which is the switch, and `remove` takes away.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import RepositoryError, UsageError
from ..source import digest_of
from .disk import READY, errors_named, link_served, locked, replace_file, staging, write_model
from .draft import ModelFiles
from .layout import WARMUP, versions

#: Schemes of URLs that fsspec opens -> the package that it needs for them, None where that is fsspec itself.
SCHEMES: Mapping[str, str | None] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": None,
}


class Store(Protocol):
    """A repository to be changed. Paths are relative to it, with slashes. Raises RepositoryError."""

    place: str

    def locked(self, waiting: Callable[[str], None] = ...) -> AbstractContextManager[None]:
        """Excludes other publishers; `waiting` is called with what there is to wait for. All changes happen within."""

    def hold(self) -> None:
        """Raises RepositoryError if another publisher may have taken the lock meanwhile."""

    def models(self) -> list[str]:
        """The names of all folders of models."""

    def versions(self, model: str) -> list[int]:
        """The versions of a model, oldest first."""

    def read(self, path: str) -> bytes | None:
        """A file, None where there is none."""

    def digest(self, path: str) -> str | None:
        """The digest of a file's content as it lies there."""

    def stage(self, model: ModelFiles, version: int, digests: Mapping[str, str]) -> None:
        """Writes a version where nobody looks, reads it back and compares it: with `digests`, or else with what was to be
        written."""

    def add(self, name: str, version: int) -> None:
        """Puts a staged version into its place; a model that is new there appears with its config."""

    def put(self, path: str, content: bytes) -> None:
        """Replaces a file: readers find the old content or the new one."""

    def link(self, front: str, version: int) -> None:
        """Shows a version's manifest and baseline beside the config."""

    def remove(self, path: str) -> None:
        """Takes away a file, a version or a model, where there is one."""


class Folder:
    """A repository on a disk. `area`: the folder for what is not yet, or no longer, in its place; one that `locked` makes."""

    def __init__(self, root: Path, area: Path | None = None) -> None:
        self.root = root
        self.place = str(root)
        self._area = area

    @contextmanager
    def locked(self, waiting: Callable[[str], None] = lambda what: None) -> Iterator[None]:
        with errors_named(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root, waiting), staging(self.root) as self._area:
                yield

    def hold(self) -> None:
        """The lock of a file is kept by the system."""

    def models(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def versions(self, model: str) -> list[int]:
        return versions(self.root / model)

    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def digest(self, path: str) -> str | None:
        file = self.root / path
        return digest_of(file) if file.is_file() else None

    def stage(self, model: ModelFiles, version: int, digests: Mapping[str, str]) -> None:
        folder = self._area / READY / model.name
        shutil.rmtree(folder, ignore_errors=True)
        write_model(model, folder, version)
        for path, digest in expected_digests(model, version, digests).items():
            check_copy(f"{model.name}/{path}", digest, digest_of(folder / path), self.place)

    def add(self, name: str, version: int) -> None:
        staged, target = self._area / READY / name, self.root / name
        if not target.exists():
            os.rename(staged, target)
            return
        if (staged / WARMUP).exists():
            (target / WARMUP).mkdir(exist_ok=True)
            for path in (staged / WARMUP).iterdir():
                if not (target / WARMUP / path.name).exists():
                    os.rename(path, target / WARMUP / path.name)
        os.rename(staged / str(version), target / str(version))

    def put(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(exist_ok=True)  # of a model's warm-up it may be gone
        replace_file(self.root / path, content)

    def link(self, front: str, version: int) -> None:
        link_served(self.root / front, version)

    def remove(self, path: str) -> None:
        target = self.root / path
        if target.is_dir():
            gone = self._area / f"gone-{len(list(self._area.iterdir()))}"
            os.rename(target, gone)  # so that nobody sees it half removed
            shutil.rmtree(gone)
        else:
            target.unlink(missing_ok=True)


def open_store(place: str | Path) -> Store:
    """The repository in a folder or at a URL. Raises UsageError and MissingExtra."""
    scheme, separator, rest = str(place).partition("://")
    if not separator:
        return Folder(Path(place))
    if scheme == "file":
        return Folder(Path(rest))
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in ("file", *SCHEMES))
        raise UsageError(f"{place}: a repository is kept in a folder or at a URL that begins with one of {known}")
    from .objects import Objects

    return Objects(str(place), SCHEMES[scheme])


def expected_digests(model: ModelFiles, version: int, digests: Mapping[str, str]) -> dict[str, str]:
    """File of a model -> the digest it must have once it is copied."""
    contents = {**model.shared, **{f"{version}/{path}": content for path, content in model.versioned.items()}}
    known = {f"{version}/{path}": digest for path, digest in digests.items()}
    return {path: known.get(path) or digest_of_content(content) for path, content in contents.items()}


def digest_of_content(content: bytes | Path) -> str:
    """As the manifests have it."""
    return digest_of(content) if isinstance(content, Path) else f"sha256:{hashlib.sha256(content).hexdigest()}"


def check_copy(path: str, expected: str, found: str | None, place: str) -> None:
    """Raises RepositoryError for a file that is not what its manifest says."""
    if found != expected:
        raise RepositoryError(
            f"{path} is not what its manifest says after it was copied to {place}: {found or 'nothing'}, not {expected}."
            " Was its source changed or damaged? hf2triton build --plan tells, for repositories with a build file"
        )
