"""The columns of an input, and their types in Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import UsageError
from .inputs import Input, first_rows
from .parquet_input import schema_of

#: How many rows of JSON lines are read to learn their columns and types.
_LOOKED_AT = 1000


def columns_of(source: Input) -> tuple[str, ...]:
    """The names of the columns. Raises UsageError if there are none."""
    if source.is_parquet:
        return tuple(schema_of(source.files[0]).names)
    found = tuple(dict.fromkeys(name for row in first_rows(source, _LOOKED_AT) for name in row))
    if not found:
        raise UsageError(f"the first {_LOOKED_AT} lines of {source.files[0]} hold no object with named columns")
    return found


def require_columns(present: Sequence[str], asked: Iterable[str]) -> None:
    """Raises UsageError if a requested column is missing."""
    if missing := [name for name in asked if name not in present]:
        raise UsageError(f"the input has no column {', '.join(missing)}; it has {', '.join(present)}")


def types_of(source: Input, id: str | None, keep: Iterable[str]) -> dict[str, Any]:
    """The Parquet types of the output's `id` and of the kept columns: from the Parquet file, or from the first rows of JSON
    lines.

    Columns of JSON lines without a value in those rows become strings. Raises UsageError for values without a common type.
    """
    import pyarrow as pa

    read = {**({} if id is None else {"id": id}), **{name: name for name in keep}}
    types: dict[str, Any] = {"id": pa.int64()}
    if source.is_parquet:
        schema = schema_of(source.files[0])
        return types | {name: schema.field(column).type for name, column in read.items()}
    rows = first_rows(source, _LOOKED_AT)
    for name, column in read.items():
        try:
            kind = pa.array([row.get(column) for row in rows]).type
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError) as error:
            raise UsageError(
                f"the values of the column {column} have no type in common, as Parquet needs ({error}): let OUTPUT end in .jsonl"
            ) from error
        types[name] = pa.string() if pa.types.is_null(kind) else kind
    return types
