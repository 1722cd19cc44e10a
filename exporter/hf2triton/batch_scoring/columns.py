"""What columns an input has, and of which types they are in Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import UsageError
from .inputs import Input, first_rows
from .parquet_input import schema_of

#: Rows of JSON lines that are looked at to learn their columns and types.
_LOOKED_AT = 1000


def columns_of(source: Input) -> tuple[str, ...]:
    """The names of the columns. Raises UsageError where there are none."""
    if source.is_parquet:
        return tuple(schema_of(source.files[0]).names)
    found = tuple(dict.fromkeys(name for row in first_rows(source, _LOOKED_AT) for name in row))
    if not found:
        raise UsageError(f"the first {_LOOKED_AT} lines of {source.files[0]} hold no object with named columns")
    return found


def require_columns(present: Sequence[str], asked: Iterable[str]) -> None:
    """Raises UsageError where one is not there."""
    if missing := [name for name in asked if name not in present]:
        raise UsageError(f"the input has no column {', '.join(missing)}; it has {', '.join(present)}")


def types_of(source: Input, id: str | None, keep: Iterable[str]) -> dict[str, Any]:
    """The Parquet types of the output's `id` and of the kept columns: Parquet's own, or those of the first rows of JSON lines.

    Columns of JSON lines without a value there are strings. Raises UsageError for values that have no type in common.
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
