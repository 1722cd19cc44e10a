"""Reads the rows of an input from any position, without reading what precedes it: JSON lines, Parquet, images, and folders of
these.

A folder of images becomes a file of JSON lines in the run's folder, so the reader handles only two kinds of files.
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
#: Endings of files that hold rows.
TABLES = (".jsonl", ".parquet")
#: The file that lists a folder's images.
INDEX = "images.jsonl"
#: Bytes at each end of a file that its fingerprint is made from, in addition to its size and time.
_ENDS = 1 << 20
#: Bytes of JSON lines that are read to learn their columns.
_LOOKED_AT = 4 << 20


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be read, and the reason."""

    why: str


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of one file. `first`: the number of its first row in the whole input. `at`: the position of that row
    in its file, in bytes (JSON lines) or rows (Parquet)."""

    number: int
    file: int
    first: int
    at: int
    rows: int


@dataclass(frozen=True)
class Input:
    """Files with rows, all with the same ending. `base`: the folder that paths in them are relative to; None for each file's
    own folder. `fingerprint`: changes with the content of the files."""

    files: tuple[str, ...]
    base: str | None
    fingerprint: str

    @property
    def is_parquet(self) -> bool:
        return self.files[0].lower().endswith(".parquet")

    def base_of(self, file: int) -> Path:
        return Path(self.files[file]).parent if self.base is None else Path(self.base)


def open_input(path: Path, workspace: Path) -> Input:
    """Opens the input at a path. Images are listed in a file in `workspace`. Raises UsageError if there is nothing to read."""
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
    """An input as shards of at most `size` rows, in order. Reads JSON lines once; of Parquet files, reads only the ends."""
    number = first = 0
    cut_file = _cut_parquet if source.is_parquet else _cut_lines
    for index, file in enumerate(source.files):
        for at, rows in cut_file(file, size):
            yield Shard(number, index, first, at, rows)
            number, first = number + 1, first + rows


class InputReader:
    """Returns the rows of shards. Fast if each shard follows the previous one. `columns`: the columns that are needed."""

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
    """The first readable rows of JSON lines; fewer if the rows are long."""
    with Path(source.files[0]).open("rb") as file:
        lines = islice(takewhile(lambda _: file.tell() < _LOOKED_AT, iter(file.readline, b"")), count - 1)
        first = file.readline()  # at any length
        rows = [_row(line) for line in chain([first], lines) if line.strip()]
    return [row for row in rows if not isinstance(row, Unreadable)]


class _Lines:
    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 – it is read piece by piece
        self.close: Callable[[], None] = self._file.close

    def rows(self, at: int, count: int) -> Iterator[Row | Unreadable]:
        self._file.seek(at)
        return islice((_row(line) for line in self._file if line.strip()), count)


def _row(line: bytes) -> Row | Unreadable:
    try:
        row = json.loads(line.rstrip(b"\r\n").decode("utf-8-sig"))
    except json.JSONDecodeError as error:  # its message counts lines too, within this line
        what = error.msg.removesuffix(" at")
        return Unreadable(f"the line is not JSON: {what} at character {error.pos + 1} of it")
    except UnicodeDecodeError as error:
        return Unreadable(f"the line is not UTF-8: {error.reason} at byte {error.start + 1} of it")
    except (ValueError, RecursionError) as error:  # numbers with too many digits, and too deeply nested values
        return Unreadable(f"the line is not JSON that can be read: {error}")
    return row if isinstance(row, dict) else Unreadable(f"the line is not an object, but a {type(row).__name__}")


def _cut_lines(path: str, size: int) -> Iterator[tuple[int, int]]:
    with Path(path).open("rb") as file:
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
    """The files below a folder, in the order of their paths, without hidden files."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _list_images(folder: Path, index: Path) -> str:
    """Writes the index if it differs from the existing one. Returns the fingerprint of the listed images."""
    together, new = hashlib.sha256(), index.with_suffix(".new")
    with new.open("w", encoding="ascii") as file:
        for path in walk(folder):
            if path.suffix.lower() in IMAGE_ENDINGS:
                relative, about = str(path.relative_to(folder)), path.stat()
                file.write(json.dumps({"id": relative, "image": relative}) + "\n")
                together.update(f"{relative}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    new.replace(index)
    return together.hexdigest()


def _fingerprint(path: Path) -> str:
    """Made from size, time and both ends of a file: reading all of a large file would take as long as scoring a small one."""
    about = path.stat()
    digest = hashlib.sha256(f"{about.st_size}\0{about.st_mtime_ns}\0".encode())
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(about.st_size - _ENDS, 0))
        digest.update(file.read(_ENDS))
    return digest.hexdigest()
