"""Parquet files as inputs: their columns, their number of rows, and rows from any position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ..errors import UsageError

#: Rows decoded at a time, and bytes read at a time.
_DECODED, _READ = 64, 1 << 20


def schema_of(path: str) -> Any:
    """The schema of a file, as an Arrow schema. Raises UsageError if it cannot be read."""
    import pyarrow.parquet as parquet

    with _readable(path):
        return parquet.read_schema(path)


def rows_of(path: str) -> int:
    """The number of rows in a file. Reads only its end. Raises UsageError if it cannot be read."""
    import pyarrow.parquet as parquet

    with _readable(path):
        rows: int = parquet.read_metadata(path).num_rows
    return rows


class ParquetRows:
    """Decodes rows a few at a time. `_at`: the number of the next row. Raises UsageError for unreadable data."""

    def __init__(self, path: str, columns: frozenset[str]) -> None:
        import pyarrow.parquet as parquet

        self._path = path
        with _readable(path):
            # without a buffer, entire columns of a row group are read at once
            self._file = parquet.ParquetFile(path, buffer_size=_READ, pre_buffer=False)
            self._columns = sorted(columns & set(self._file.schema_arrow.names))
        self._at, self._rows = 0, self._from(0)
        self.close: Callable[[], None] = self._file.close

    def rows(self, at: int, count: int) -> Iterator[Mapping[str, Any]]:
        if at != self._at:
            self._rows = self._from(at)
        self._at = at + count
        return islice(self._rows, count)

    def _from(self, at: int) -> Iterator[Mapping[str, Any]]:
        groups, skipped = self._file.num_row_groups, 0
        start = 0
        while start < groups and skipped + (own := self._file.metadata.row_group(start).num_rows) <= at:
            skipped, start = skipped + own, start + 1
        skip = at - skipped
        with _readable(self._path):
            for batch in self._file.iter_batches(
                _DECODED, list(range(start, groups)), self._columns, use_threads=False
            ):
                if skip < batch.num_rows:
                    yield from batch.slice(skip).to_pylist()
                skip = max(skip - batch.num_rows, 0)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turns Arrow's errors, which do not name the file, into ours."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # an error of the system, which names the file
            raise
        raise UsageError(
            f"{path} is not a Parquet file, or is incomplete ({' '.join(str(error).split())}): write it again"
        ) from error
