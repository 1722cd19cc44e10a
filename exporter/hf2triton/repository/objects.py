"""A repository in an object store, through fsspec. Object stores have no renames, so files are written directly in their final
place. No config names them before all of them are written and read back. A single object appears or is replaced as a whole.

A version's manifest is written last and removed first: a version without a manifest was left unfinished by a publisher.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf2triton_client.errors import ClientError

from ..core.layout import LINKED, MANIFEST
from ..errors import Hf2TritonError, MissingPackage, RepositoryError
from .lease import SECONDS, Lease
from .staged_entry import ModelFiles
from .store import check_copy, expected_digests

#: Packages whose errors mean that the store refused, apart from those that are also system errors.
_FOREIGN = {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google"}
_CHUNK = 1 << 22


class Objects:
    """A repository at a URL. `package`: the package that fsspec needs for it."""

    def __init__(self, url: str, package: str | None) -> None:
        self.place = url.rstrip("/")
        self._fs, root = _open(self.place, package)
        self._root = root.rstrip("/")
        self._lease = Lease(self._fs, self._path(".locks"), SECONDS)

    @contextmanager
    def locked(self, waiting: Callable[[str], None] = lambda what: None) -> Iterator[None]:
        with self._errors_named(), self._lease.held(waiting):
            yield

    def hold(self) -> None:
        self._lease.check()

    def models(self) -> list[str]:
        return sorted({parts[0] for parts in self._files() if len(parts) > 1 and not parts[0].startswith(".")})

    def versions(self, model: str) -> list[int]:
        return sorted({int(parts[0]) for parts in self._files(model) if len(parts) > 1 and parts[0].isdecimal()})

    def read(self, path: str) -> bytes | None:
        with self._errors_named():
            self._fs.invalidate_cache()
            try:
                return bytes(self._fs.cat_file(self._path(path)))
            except FileNotFoundError:
                return None

    def digest(self, path: str) -> str | None:
        with self._errors_named():
            self._fs.invalidate_cache()
            found = hashlib.sha256()
            try:
                with self._fs.open(self._path(path), "rb", block_size=_CHUNK, cache_type="readahead") as file:
                    while chunk := file.read(_CHUNK):
                        found.update(chunk)
            except FileNotFoundError:
                return None
            return f"sha256:{found.hexdigest()}"

    def stage(self, model: ModelFiles, version: int) -> None:
        contents = {f"{version}/{path}": content for path, content in model.versioned.items()}
        contents |= {
            path: content for path, content in model.shared.items() if self.read(f"{model.name}/{path}") is None
        }
        manifest = f"{version}/{MANIFEST}"
        expected = expected_digests(model, version)
        with self._errors_named():
            for path in sorted(contents, key=lambda path: (path == manifest, path)):
                self._write(f"{model.name}/{path}", contents[path])
                check_copy(f"{model.name}/{path}", expected[path], self.digest(f"{model.name}/{path}"), self.place)

    def add(self, name: str, version: int) -> None:
        """Does nothing: all files are in place already."""

    def put(self, path: str, content: bytes) -> None:
        with self._errors_named():
            self._write(path, content)

    def link(self, frontend: str, version: int) -> None:
        for name in LINKED:
            content = self.read(f"{frontend}/{version}/{name}")
            if content is None:
                raise RepositoryError(f"{self.place}/{frontend}/{version} has no {name}")
            self.put(f"{frontend}/{name}", content)

    def remove(self, path: str) -> None:
        with self._errors_named():
            self._fs.invalidate_cache()
            files = self._fs.find(self._path(path))
            # first the files that make it a model or a version
            for file in sorted(files, key=lambda file: (not file.endswith((MANIFEST, "config.pbtxt")), file)):
                self._fs.rm_file(file)

    def _write(self, path: str, content: bytes | Path) -> None:
        if isinstance(content, Path):
            self._fs.put_file(str(content), self._path(path))
        else:
            self._fs.pipe_file(self._path(path), content)

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _files(self, model: str = "") -> list[tuple[str, ...]]:
        """The parts of the paths of all files below a folder."""
        with self._errors_named():
            self._fs.invalidate_cache()
            folder = self._path(model).rstrip("/")
            return [tuple(path[len(folder) + 1 :].split("/")) for path in self._fs.find(folder)]

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turns store errors into ours."""
        try:
            yield
        except (Hf2TritonError, ClientError):
            raise
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in _FOREIGN:
                raise
            raise RepositoryError(f"the repository {self.place} cannot be used: {error or repr(error)}") from error


def _open(url: str, package: str | None) -> tuple[Any, str]:
    import fsspec

    try:
        opened: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPackage(f"a repository at {url}", package or error.name or "fsspec") from error
    return opened
