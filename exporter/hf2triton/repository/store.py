"""What a repository is kept in, whatever it is.

What is written goes through four steps, on every kind of store: `stage` writes a model's files where no config names them yet
and reads them back, `add` puts them into their place, `put` replaces a config, from which on the version is served, and
`remove` takes away. `transaction.py` has their order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ..core.digests import digest_of_content
from ..errors import RepositoryError
from .staged_entry import ModelFiles


class Store(Protocol):
    """A repository to be changed. Paths are relative to it, with slashes. Raises RepositoryError."""

    place: str

    def locked(self, waiting: Callable[[str], None] = ...) -> AbstractContextManager[None]:
        """Excludes other publishers; `waiting` is called with what there is to wait for. All changes happen within."""
        ...

    def hold(self) -> None:
        """Raises RepositoryError if another publisher may have taken the lock meanwhile."""
        ...

    def models(self) -> list[str]:
        """The names of all folders of models."""
        ...

    def versions(self, model: str) -> list[int]:
        """The versions of a model, oldest first."""
        ...

    def read(self, path: str) -> bytes | None:
        """A file, None where there is none."""
        ...

    def digest(self, path: str) -> str | None:
        """The digest of a file's content as it lies there."""
        ...

    def stage(self, model: ModelFiles, version: int) -> None:
        """Writes a version where nobody looks, reads it back and compares it: with the model's digests, or else with what was to
        be written."""
        ...

    def add(self, name: str, version: int) -> None:
        """Puts a staged version into its place; a model that is new there appears with its config."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Replaces a file: readers find the old content or the new one."""
        ...

    def link(self, frontend: str, version: int) -> None:
        """Shows a version's manifest and baseline beside the config."""
        ...

    def remove(self, path: str) -> None:
        """Takes away a file, a version or a model, where there is one."""
        ...


def expected_digests(model: ModelFiles, version: int) -> dict[str, str]:
    """File of a model → the digest that it must have once it is written."""
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
