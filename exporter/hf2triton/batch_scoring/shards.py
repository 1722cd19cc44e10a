"""Stores the rows of the output in files: one per shard, complete or absent, and finally one file for all rows.

Shards of JSON lines end with a line that counts them. Shards of Parquet are Arrow streams, so Parquet's row groups may be
larger or smaller than a shard.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..errors import ScoringError
from .batch_client import Scored
from .inputs import Shard
from .options import SHARD_ENDINGS

#: Rows and bytes after which a row group of Parquet ends, and bytes copied at a time.
_GROUP_ROWS, _GROUP_BYTES = 65_536, 16 << 20
#: The maximum size of a shard's last line in bytes.
_LAST = 100


class Sink(Protocol):
    """Receives the rows of a shard."""

    def write(self, rows: Sequence[Scored]) -> None: ...

    def end(self) -> None: ...


class Format(Protocol):
    """How shards are written and joined."""

    ending: str

    def sink(self, file: BinaryIO) -> Sink: ...

    def join(self, shards: Sequence[tuple[Path, int]], file: BinaryIO) -> int:
        """Joins shards, given with their numbers of rows, into one file. Returns the number of errors. Raises ScoringError."""
        ...


def shard_path(parts: Path, number: int, ending: str) -> Path:
    return parts / f"shard-{number:08d}{ending}"


def done_in(parts: Path, ending: str) -> set[int]:
    """The numbers of the shards that exist."""
    return {int(path.stem.removeprefix("shard-")) for path in parts.glob(f"shard-*{ending}")}


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears only once it is complete and on disk."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")  # several writers are possible, as Ray retries
    try:
        with new.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def shard_written(parts: Path, shard: Shard, format: Format) -> Iterator[Sink]:
    """A sink for the rows of a shard, whose file appears at the end."""
    with written(shard_path(parts, shard.number, format.ending)) as file:
        sink = format.sink(file)
        yield sink
        sink.end()


class JsonLines:
    """One object per line: `{"id", "answer", …}`, and `{"id", "answer": null, "error", …}` for failed rows."""

    ending = SHARD_ENDINGS[".jsonl"]

    def sink(self, file: BinaryIO) -> Sink:
        return _ResultLines(file)

    def join(self, shards: Sequence[tuple[Path, int]], file: BinaryIO) -> int:
        errors = 0
        for path, rows in shards:
            with path.open("rb") as shard:
                size = shard.seek(0, os.SEEK_END)
                shard.seek(max(size - _LAST, 0))
                last = shard.read().rstrip(b"\n").rpartition(b"\n")[2]
                errors += _counted(path, last, rows)
                shard.seek(0)
                left = size - len(last) - 1
                while left > 0 and (piece := shard.read(min(left, 1 << 20))):
                    file.write(piece)
                    left -= len(piece)
        return errors


def _counted(path: Path, last: bytes, rows: int) -> int:
    """The number of errors according to a shard's last line. Raises ScoringError if the line is missing or its row count
    differs."""
    try:
        counts = json.loads(last)
        if counts["rows"] == rows:
            return int(counts["errors"])
    except (ValueError, KeyError, TypeError):
        pass
    raise _damaged(path)


class _ResultLines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rows = self._errors = 0

    def write(self, rows: Sequence[Scored]) -> None:
        for row in rows:
            failed = {} if row.error is None else {"error": row.error}
            line = {"id": row.id, "answer": row.answer, **failed, **row.kept}
            self._file.write(_json(line) + b"\n")
            self._errors += row.error is not None
        self._rows += len(rows)

    def end(self) -> None:
        self._file.write(_json({"rows": self._rows, "errors": self._errors}) + b"\n")


class Parquet:
    """Columns `id`, `answer`, `error` and the kept columns. `answer`: the type of an answer; `uniform`: makes an answer fit
    it; `others`: the types of the id and the kept columns."""

    ending = SHARD_ENDINGS[".parquet"]

    def __init__(self, answer: Any, uniform: Callable[[Any], Any] | None, others: Mapping[str, Any]) -> None:
        import pyarrow as pa

        self._uniform = uniform
        own = {"id": others["id"], "answer": answer, "error": pa.string()}
        self.schema = pa.schema({**own, **{name: kind for name, kind in others.items() if name != "id"}})
        self._lists = pa.types.is_list(answer)

    def sink(self, file: BinaryIO) -> Sink:
        return _Stream(file, self)

    def batch(self, rows: Sequence[Scored]) -> Any:
        import pyarrow as pa

        columns = {
            "id": [row.id for row in rows],
            "answer": [self._fitted(row.answer) for row in rows],
            "error": [row.error for row in rows],
            **{name: [row.kept[name] for row in rows] for name in self.schema.names[3:]},
        }
        return pa.record_batch([self._array(name, values) for name, values in columns.items()], schema=self.schema)

    def _fitted(self, answer: Any) -> Any:
        if answer is None:
            return None
        if self._uniform is not None:
            return self._uniform(answer)
        return [answer] if self._lists and isinstance(answer, dict) else answer

    def _array(self, name: str, values: list[Any]) -> Any:
        import pyarrow as pa

        kind = self.schema.field(name).type
        try:
            return pa.array(values, type=kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError) as error:
            raise ScoringError(
                f"a value of the column {name} is not of type {kind}, as those before it are ({error}): let OUTPUT end in"
                " .jsonl, where each row may have its own type"
            ) from error

    def join(self, shards: Sequence[tuple[Path, int]], file: BinaryIO) -> int:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        errors = 0
        with parquet.ParquetWriter(file, self.schema, compression="zstd") as writer:
            waiting: list[Any] = []
            length = size = 0
            for batch in (batch for path, rows in shards for batch in _batches(path, rows)):
                waiting.append(batch)
                errors += len(batch) - batch["error"].null_count
                length, size = length + len(batch), size + batch.nbytes
                if size >= _GROUP_BYTES or length >= _GROUP_ROWS:
                    writer.write_table(pa.Table.from_batches(waiting, self.schema))
                    waiting, length, size = [], 0, 0
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting, self.schema))
        return errors


def _batches(path: Path, rows: int) -> Iterator[Any]:
    """The batches of a shard. Raises ScoringError if it cannot be read or has another number of rows."""
    import pyarrow as pa

    with path.open("rb") as file:
        try:
            with pa.ipc.open_stream(file) as stream:
                while True:
                    batch = stream.read_next_batch()
                    rows -= len(batch)
                    yield batch
        except StopIteration:
            pass
        except (pa.ArrowInvalid, OSError):
            raise _damaged(path) from None
    if rows:
        raise _damaged(path)


class _Stream:
    def __init__(self, file: BinaryIO, format: Parquet) -> None:
        import pyarrow as pa

        self._format = format
        self._writer = pa.ipc.new_stream(file, format.schema)

    def write(self, rows: Sequence[Scored]) -> None:
        self._writer.write_batch(self._format.batch(rows))

    def end(self) -> None:
        self._writer.close()


def _json(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, default=_plain).encode()
    except UnicodeEncodeError:  # file names and JSON can contain a lone surrogate, which UTF-8 cannot encode
        return json.dumps(row, default=_plain).encode()


def _plain(value: Any) -> Any:
    """JSON for values that JSON lacks: numpy's arrays and numbers, and Parquet's dates, bytes and decimals."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _damaged(path: Path) -> ScoringError:
    return ScoringError(f"{path} is damaged: remove it and run the same command again, which writes it anew")
