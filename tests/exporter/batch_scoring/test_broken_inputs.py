"""Inputs that would be lost, or cannot be read: each is one clear line, and nothing is written."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner

from hf2triton.batch_scoring import ScoreOptions
from hf2triton.cli import main
from hf2triton.errors import UsageError

from ...support import snapshot
from .conftest import write_lines

ROWS = [{"text": f"A text of many words, which is number {number}."} for number in range(400)]


def refused(*arguments: object) -> str:
    """What the command says when it refuses, which is all that it does."""
    done = CliRunner().invoke(main, ["score", "sentiment", *map(str, arguments)])
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.output
    return done.stderr


def written(path: Path) -> bytes:
    parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=100)
    return path.read_bytes()


def to_itself(folder: Path) -> tuple[Path, Path]:
    return folder / "in.jsonl", folder / "sub" / ".." / "in.jsonl"


def through_a_link(folder: Path) -> tuple[Path, Path]:
    (folder / "link.jsonl").symlink_to("in.jsonl")
    return folder / "link.jsonl", folder / "in.jsonl"


def to_a_link(folder: Path) -> tuple[Path, Path]:
    (folder / "link.jsonl").symlink_to("in.jsonl")
    return folder / "in.jsonl", folder / "link.jsonl"


def by_another_name(folder: Path) -> tuple[Path, Path]:
    os.link(folder / "in.jsonl", folder / "name.jsonl")
    return folder / "in.jsonl", folder / "name.jsonl"


def through_a_linked_folder(folder: Path) -> tuple[Path, Path]:
    (folder / "linked").symlink_to(folder)
    return folder / "in.jsonl", folder / "linked" / "in.jsonl"


def into_its_folder(folder: Path) -> tuple[Path, Path]:
    return folder, folder / "sub" / "out.jsonl"


def to_what_its_folder_links(folder: Path) -> tuple[Path, Path]:
    (folder / "sub" / "a.jsonl").symlink_to("../in.jsonl")
    return folder / "sub", folder / "in.jsonl"


def within_what_is_cleared(folder: Path) -> tuple[Path, Path]:
    (folder / "out.jsonl.parts").mkdir()
    (folder / "in.jsonl").rename(folder / "out.jsonl.parts" / "in.jsonl")
    return folder / "out.jsonl.parts" / "in.jsonl", folder / "out.jsonl"


@pytest.mark.parametrize(
    "places",
    [
        *(to_itself, through_a_link, to_a_link, by_another_name, through_a_linked_folder),
        *(into_its_folder, to_what_its_folder_links, within_what_is_cleared),
    ],
)
@pytest.mark.parametrize("options", [(), ("--restart",)])
def test_an_input_is_never_overwritten(tmp_path, places, options):
    """Under whatever name OUTPUT is INPUT or a part of it, nothing is begun, though no server is there to ask."""
    (tmp_path / "sub").mkdir()
    write_lines(tmp_path / "in.jsonl", ROWS)
    source, output = places(tmp_path)
    before = snapshot(tmp_path)
    said = refused(source, output, "--url", "localhost:1", *options)
    assert "INPUT" in said
    assert "OUTPUT" in said
    assert "--restart" not in said
    assert snapshot(tmp_path) == before


def test_an_output_beside_the_input_is_not_in_it(tmp_path):
    """Nor is a hidden one, which is not read, and one whose name begins with that of the folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_lines(folder / "a.jsonl", ROWS)
    for output in ("in.jsonl", ".hidden/out.jsonl", "in/.out.jsonl"):
        assert ScoreOptions("sentiment", folder, tmp_path / output).input == folder


def test_parquet_that_is_none_is_told(url, tmp_path):
    """Garbage, nothing, and a file that was cut off are named with what is wrong, alone and as the second of a folder."""
    whole = written(tmp_path / "whole.parquet")
    for content, what in ((b"garbage", "file size is 7"), (b"", "size is 0"), (whole[:-999], "magic bytes not found")):
        path = tmp_path / "b.parquet"
        path.write_bytes(content)
        said = refused(path, tmp_path / "out.jsonl", "--url", url)
        assert said.startswith(f"hf2triton: {path} is not a Parquet file, or is incomplete (")
        assert what in said
        said = refused(tmp_path, tmp_path.parent / "out.jsonl", "--url", url)
        (tmp_path / "a.parquet").write_bytes(whole)
        assert f"{path} is not a Parquet file, or is incomplete" in said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet", "whole.parquet"]


def test_parquet_whose_rows_cannot_be_read_is_told(run, tmp_path):
    """An end that is whole says nothing about the rows before it: where they cannot be read the file is named."""
    path = tmp_path / "in.parquet"
    whole = written(path)
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    path.write_bytes(whole[: end // 2] + whole[end:])
    with pytest.raises(UsageError, match=r"in.parquet is not a Parquet file, or is incomplete \(.+\): write it again"):
        run(path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
