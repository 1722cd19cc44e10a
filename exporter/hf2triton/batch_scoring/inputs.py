"""The rows of an input, read from anywhere in it without reading what comes before: JSON lines, Parquet, images, and folders
of them.

A folder of images becomes a file of JSON lines in the run's own folder, so that reading knows files of two kinds alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from hf2triton_client.evaluation.rows import IMAGE_ENDINGS

from ..errors import UsageError
from .parquet_input import ParquetRows, rows_of

Row = Mapping[str, Any]
#: Endings of files with rows.
TABLES = (".jsonl", ".parquet")
#: The file that lists a folder's images.
INDEX = "images.jsonl"
#: Bytes at either end of a file that its fingerprint is made of, beside its size and its time.
_ENDS = 1 << 20
#: Bytes of JSON lines that are looked at to learn of their columns.
_LOOKED_AT = 4 << 20


@dataclass(frozen=True)
class Unreadable:
    """A row that is none, and why."""

    why: str


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one file. `first`: the number of its first row in the whole input. `at`: where that is in its file,
    in bytes (JSON lines) or rows (Parquet)."""

    number: int
    file: int
    first: int
    at: int
    rows: int


@dataclass(frozen=True)
class Input:
    """Files with rows, all of one ending. `base`: what paths in them are relative to, None for each file's own folder.
    `fingerprint`: changes with what is in them."""

    files: tuple[str, ...]
    base: str | None
    fingerprint: str

    @property
    def is_parquet(self) -> bool:
        return self.files[0].lower().endswith(".parquet")

    def base_of(self, file: int) -> Path:
        return Path(self.files[file]).parent if self.base is None else Path(self.base)


def open_input(path: Path, workspace: Path) -> Input:
    """What lies at a path. Images are listed in a file in `workspace`. Raises UsageError where there is nothing to read."""
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}")
    path = path.resolve()
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise UsageError(f"{path} should end in {' or '.join(TABLES)}, or be a folder of images or of such files")
        return Input((str(path),), None, _fingerprint(path))
    endings = {file.suffix.lower() for file in walk(path)}
    tables, images = endings & set(TABLES), endings & set(IMAGE_ENDINGS)
    if len(tables) + bool(images) != 1:
        found = ", ".join(sorted(tables | images)) or "none of them"
        raise UsageError(f"{path} should hold either images, or files of one of {', '.join(TABLES)}; it holds {found}")
    if images:
        return Input((str(workspace / INDEX),), str(path), _list_images(path, workspace / INDEX))
    files = [file for file in walk(path) if file.suffix.lower() in tables]
    together = hashlib.sha256()
    for file in files:
        together.update(f"{file.relative_to(path)}\0{_fingerprint(file)}\n".encode(errors="surrogateescape"))
    return Input(tuple(map(str, files)), None, together.hexdigest())


def cut(source: Input, size: int) -> Iterator[Shard]:
    """An input as shards of at most `size` rows, in order. Reads JSON lines once, of Parquet the ends of files alone."""
    number = first = 0
    cut_file = _cut_parquet if source.is_parquet else _cut_lines
    for index, file in enumerate(source.files):
        for at, rows in cut_file(file, size):
            yield Shard(number, index, first, at, rows)
            number, first = number + 1, first + rows


class InputReader:
    """Gives the rows of shards; fast where a shard follows the one before. `columns`: those that are needed."""

    def __init__(self, source: Input, columns: frozenset[str]) -> None:
        self._source, self._columns = source, columns
        self._opened: tuple[int, _Lines | ParquetRows] | None = None

    def rows(self, shard: Shard) -> Iterator[Row | Unreadable]:
        if self._opened is None or self._opened[0] != shard.file:
            self.close()
            path = self._source.files[shard.file]
            self._opened = shard.file, ParquetRows(path, self._columns) if self._source.is_parquet else _Lines(path)
        yield from self._opened[1].rows(shard.at, shard.rows)

    def close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
        self._opened = None

    def __enter__(self) -> InputReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def first_rows(source: Input, count: int) -> list[Row]:
    """The first rows of JSON lines that can be read, fewer where they are long."""
    with open(source.files[0], "rb") as file:
        lines = islice(takewhile(lambda _: file.tell() < _LOOKED_AT, iter(file.readline, b"")), count - 1)
        first = file.readline()  # however long it is
        rows = [_row(line) for line in chain([first], lines) if line.strip()]
    return [row for row in rows if not isinstance(row, Unreadable)]


class _Lines:
    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 – it is read piece by piece
        self.close: Callable[[], None] = self._file.close

    def rows(self, at: int, count: int) -> Iterator[Row | Unreadable]:
        self._file.seek(at)
        return islice((_row(line) for line in self._file if line.strip()), count)


def _row(line: bytes) -> Row | Unreadable:
    try:
        row = json.loads(line.rstrip(b"\r\n").decode("utf-8-sig"))
    except json.JSONDecodeError as error:  # its own words count lines too, within this one
        what = error.msg.removesuffix(" at")
        return Unreadable(f"the line is no JSON: {what} at character {error.pos + 1} of it")
    except UnicodeDecodeError as error:
        return Unreadable(f"the line is no UTF-8: {error.reason} at byte {error.start + 1} of it")
    except (ValueError, RecursionError) as error:  # numbers of too many digits, and what is nested too deeply
        return Unreadable(f"the line is no JSON that can be read: {error}")
    return row if isinstance(row, dict) else Unreadable(f"the line is no object, but a {type(row).__name__}")


def _cut_lines(path: str, size: int) -> Iterator[tuple[int, int]]:
    with open(path, "rb") as file:
        start = at = rows = 0
        for line in file:
            at += len(line)
            rows += bool(line.strip())
            if rows == size:
                yield start, rows
                start, rows = at, 0
        if rows:
            yield start, rows


def _cut_parquet(path: str, size: int) -> Iterator[tuple[int, int]]:
    rows = rows_of(path)
    return ((at, min(size, rows - at)) for at in range(0, rows, size))


def walk(folder: Path) -> Iterator[Path]:
    """The files below a folder in the order of their paths, without what is hidden."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _list_images(folder: Path, index: Path) -> str:
    """Writes the index, if it is another than the one that is there, and gives the fingerprint of what it lists."""
    together, new = hashlib.sha256(), index.with_suffix(".new")
    with new.open("w", encoding="ascii") as file:
        for path in walk(folder):
            if path.suffix.lower() in IMAGE_ENDINGS:
                relative, about = str(path.relative_to(folder)), path.stat()
                file.write(json.dumps({"id": relative, "image": relative}) + "\n")
                together.update(f"{relative}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, index)
    return together.hexdigest()


def _fingerprint(path: Path) -> str:
    """Size, time and both ends of a file: reading all of a large one would take as long as scoring a small one."""
    about = path.stat()
    digest = hashlib.sha256(f"{about.st_size}\0{about.st_mtime_ns}\0".encode())
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(about.st_size - _ENDS, 0))
        digest.update(file.read(_ENDS))
    return digest.hexdigest()
