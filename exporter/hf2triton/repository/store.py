"""The interface of every kind of store that holds a repository.

Every kind of store changes in four steps: `stage` writes a model's files where no config names them yet and reads them back,
`add` puts them in place, `put` replaces a config, which makes the version the served one, and `remove` deletes.
`transaction.py` defines their order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ..core.digests import digest_of_content
from ..errors import RepositoryError
from .staged_entry import ModelFiles


class Store(Protocol):
    """A repository that can be changed. Paths are relative to it, with slashes. Raises RepositoryError."""

    place: str

    def locked(self, waiting: Callable[[str], None] = ...) -> AbstractContextManager[None]:
        """Excludes other publishers; all changes happen within it. Calls `waiting` with a description of what it waits for."""
        ...

    def hold(self) -> None:
        """Raises RepositoryError if another publisher may have taken the lock in the meantime."""
        ...

    def models(self) -> list[str]:
        """The names of all model folders."""
        ...

    def versions(self, model: str) -> list[int]:
        """The versions of a model, oldest first."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file's content; None if it does not exist."""
        ...

    def digest(self, path: str) -> str | None:
        """The digest of a file's stored content."""
        ...

    def stage(self, model: ModelFiles, version: int) -> None:
        """Writes a version where nobody looks, reads it back and compares it with the model's digests, or with the source where
        there is no digest."""
        ...

    def add(self, name: str, version: int) -> None:
        """Puts a staged version in place; a new model appears together with its config."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Replaces a file: readers see the old content or the new one."""
        ...

    def link(self, frontend: str, version: int) -> None:
        """Makes a version's manifest and baseline appear beside the config."""
        ...

    def remove(self, path: str) -> None:
        """Removes a file, a version or a model, if it exists."""
        ...


def expected_digests(model: ModelFiles, version: int) -> dict[str, str]:
    """File of a model → the digest that it must have after writing."""
    contents = {**model.shared, **{f"{version}/{path}": content for path, content in model.versioned.items()}}
    known = {f"{version}/{path}": digest for path, digest in model.digests.items()}
    return {path: known.get(path) or digest_of_content(content) for path, content in contents.items()}


def check_copy(path: str, expected: str, found: str | None, place: str) -> None:
    """Raises RepositoryError for a file that is not what its manifest says."""
    if found != expected:
        raise RepositoryError(
            f"{path} is not what its manifest says after it was copied to {place}: {found or 'nothing'}, not {expected}."
            " Was its source changed or damaged? hf2triton build --plan tells, for repositories with a build file"
        )
