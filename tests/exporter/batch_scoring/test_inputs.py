"""Inputs are cut and read from anywhere in them."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton.batch_scoring.columns import columns_of, types_of
from hf2triton.batch_scoring.inputs import InputReader, Unreadable, cut, open_input
from hf2triton.errors import UsageError

LINES = st.lists(st.sampled_from(['{"n": 1}', '{"n": "é\\u2028"}', "", "  ", "broken", "[]"]), min_size=1, max_size=30)


def read(source, shards, columns=frozenset({"n"})):
    with InputReader(source, columns) as reader:
        return {shard.number: list(reader.rows(shard)) for shard in shards}


@given(
    lines=LINES,
    size=st.integers(1, 8),
    end=st.sampled_from(["", "\n", "\r\n"]),
    order=st.randoms(use_true_random=False),
)
def test_shards_of_json_lines_are_its_rows(tmp_path_factory, lines, size, end, order):
    """Whatever the size of the shards and the order they are read in, together they are the lines that are not blank."""
    path = tmp_path_factory.mktemp("lines") / "in.jsonl"
    path.write_bytes((("\r\n" if end == "\r\n" else "\n").join(lines) + end).encode())
    source = open_input(path, path.parent)
    shards = list(cut(source, size))
    full = [line for line in lines if line.strip()]
    assert [shard.first for shard in shards] == list(range(0, len(full), size))
    assert all(shard.rows == size for shard in shards[:-1])
    found = read(source, order.sample(shards, len(shards)))
    rows = [row for number in sorted(found) for row in found[number]]
    assert [isinstance(row, Unreadable) for row in rows] == [line in ("broken", "[]") for line in full]
    assert [row for row in rows if isinstance(row, dict)] == [json.loads(line) for line in full if line[0] == "{"]


@given(
    rows=st.integers(0, 200),
    group=st.integers(1, 150),
    size=st.integers(1, 90),
    order=st.randoms(use_true_random=False),
)
def test_shards_of_parquet_are_its_rows(tmp_path_factory, rows, group, size, order):
    """Shards and row groups need not begin together; columns that are not needed are not read."""
    path = tmp_path_factory.mktemp("parquet") / "in.parquet"
    parquet.write_table(pa.table({"n": range(rows), "unused": ["x"] * rows}), path, row_group_size=group)
    source = open_input(path, path.parent)
    shards = list(cut(source, size))
    found = read(source, order.sample(shards, len(shards)))
    assert [row for number in sorted(found) for row in found[number]] == [{"n": number} for number in range(rows)]


def test_what_changes_shows(tmp_path):
    """The fingerprint of an input changes with its content and its time, of a folder with its files."""
    path, folder = tmp_path / "in.jsonl", tmp_path / "folder"
    path.write_text('{"n": 1}\n')
    os.utime(path, (1, 1))
    first = open_input(path, tmp_path).fingerprint
    assert open_input(path, tmp_path).fingerprint == first
    os.utime(path, (2, 2))
    assert open_input(path, tmp_path).fingerprint != first
    path.write_text('{"n": 2}\n')
    os.utime(path, (1, 1))
    assert open_input(path, tmp_path).fingerprint != first
    folder.mkdir()
    for name in ("b.png", "a.png"):
        (folder / name).write_bytes(b"an image")
    before = open_input(folder, tmp_path).fingerprint
    (folder / "b.png").rename(folder / "c.png")
    assert open_input(folder, tmp_path).fingerprint != before


def test_columns_are_those_of_the_first_rows(tmp_path):
    """JSON lines have the columns that any of their first rows has, of the type that fits all values; none is a string."""
    path = tmp_path / "in.jsonl"
    path.write_text('broken\n{"a": 1}\n{"a": 0.5, "b": "x"}\n{"c": null}\n')
    source = open_input(path, tmp_path)
    assert columns_of(source) == ("a", "b", "c")
    assert types_of(source, None, ("a", "c")) == {"id": pa.int64(), "a": pa.float64(), "c": pa.string()}
    assert types_of(source, "b", ()) == {"id": pa.string()}


def test_a_file_of_another_kind_is_refused(tmp_path):
    """Inputs are read by their ending."""
    (tmp_path / "in.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match=r"in.csv should end in .jsonl or .parquet, or be a folder of images"):
        open_input(tmp_path / "in.csv", tmp_path)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"n": 1', "the line is not JSON: Expecting ',' delimiter at character 8 of it"),
        (b'{"n": "x', "the line is not JSON: Unterminated string starting at character 7 of it"),
        (b'{"n": "\xff"}', "the line is not UTF-8: invalid start byte at byte 8 of it"),
        (b"[" * 200_000, "the line is not JSON that can be read: maximum recursion depth exceeded"),
    ],
)
def test_what_is_wrong_with_a_line_is_counted_within_it(tmp_path, line, why):
    """A character of the line is told, and no number of a line, which would be taken for the file's; others are read."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b'\r\n{"n": 2}\n')
    source = open_input(path, tmp_path)
    [(first, wrong, last)] = read(source, list(cut(source, 9))).values()
    assert (first, last) == ({"n": 1}, {"n": 2})
    assert wrong.why.startswith(why)
