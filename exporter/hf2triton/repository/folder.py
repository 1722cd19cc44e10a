"""A repository in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..core.digests import digest_of
from ..core.layout import WARMUP, versions
from .disk import READY, errors_named, link_served, locked, remove_if_empty, replace_file, staging, write_model
from .staged_entry import ModelFiles
from .store import check_copy, expected_digests


class Folder:
    """A repository on a disk. Files that are not yet, or no longer, in place are in a folder that `locked` makes."""

    _area: Path

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = str(root)

    @contextmanager
    def locked(self, waiting: Callable[[str], None] = lambda what: None) -> Iterator[None]:
        with errors_named(self.root), ExitStack() as undo:
            if not self.root.exists():
                self.root.mkdir(parents=True, exist_ok=True)  # another publisher may make it first
                undo.callback(remove_if_empty, self.root)
            with locked(self.root, waiting), staging(self.root) as self._area:
                yield
            undo.pop_all()

    def hold(self) -> None:
        """Does nothing: the system keeps a file lock."""

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

    def stage(self, model: ModelFiles, version: int) -> None:
        folder = self._area / READY / model.name
        shutil.rmtree(folder, ignore_errors=True)
        write_model(model, folder, version)
        for path, digest in expected_digests(model, version).items():
            check_copy(f"{model.name}/{path}", digest, digest_of(folder / path), self.place)

    def add(self, name: str, version: int) -> None:
        staged, target = self._area / READY / name, self.root / name
        if not target.exists():
            staged.rename(target)
            return
        if (staged / WARMUP).exists():
            (target / WARMUP).mkdir(exist_ok=True)
            for path in (staged / WARMUP).iterdir():
                if not (target / WARMUP / path.name).exists():
                    path.rename(target / WARMUP / path.name)
        (staged / str(version)).rename(target / str(version))

    def put(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(exist_ok=True)  # a model's warm-up folder may be gone
        replace_file(self.root / path, content)

    def link(self, frontend: str, version: int) -> None:
        link_served(self.root / frontend, version)

    def remove(self, path: str) -> None:
        target = self.root / path
        if target.is_dir():
            gone = self._area / f"gone-{len(list(self._area.iterdir()))}"
            target.rename(gone)  # nobody sees it half removed
            shutil.rmtree(gone)
        else:
            target.unlink(missing_ok=True)
