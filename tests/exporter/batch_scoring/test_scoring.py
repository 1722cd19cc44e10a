"""Large sets through a served model: every row's answer is the pipeline's own, in order, under its id."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from click.testing import CliRunner
from PIL import Image

from hf2triton.cli import main
from hf2triton.errors import ScoringError, UsageError
from hf2triton_client import pipeline
from hf2triton_client.errors import ConnectionFailed, InputError

from ...conftest import asset
from ...support import assert_outputs_match
from .conftest import read_lines, write_lines

#: By how much the other rows of a call may change a score.
ATOL = 1e-5


def call(*arguments):
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def test_json_lines_become_json_lines(run, table, rows, answers, tmp_path):
    """A row of the output is the row's id and exactly what the pipeline answers, in the order of the input; nothing is left."""
    output = tmp_path / "out.jsonl"
    summary = run(table, output)
    expected = [{"id": row["id"], "answer": answer} for row, answer in zip(rows, answers, strict=True)]
    assert_outputs_match(expected, read_lines(output), ATOL)
    assert (summary.rows, summary.errors, summary.rows_before) == (len(rows), 0, 0)
    assert sorted(tmp_path.iterdir()) == [table, output]


@pytest.mark.parametrize("batch_size", [1, 3, None])
@pytest.mark.parametrize("shard_size", [1, 7, 1000])
def test_batches_and_shards_do_not_show(run, table, rows, answers, tmp_path, batch_size, shard_size):
    """However many rows a call and a shard have, the same answers come out."""
    run(table, tmp_path / "out.jsonl", batch_size=batch_size, shard_size=shard_size, concurrency=3)
    assert [row["id"] for row in read_lines(tmp_path / "out.jsonl")] == [row["id"] for row in rows]
    assert_outputs_match(answers, [row["answer"] for row in read_lines(tmp_path / "out.jsonl")], ATOL)


def test_parquet_becomes_parquet(run, rows, answers, tmp_path):
    """Columns have the input's types; answers are records, ids strings, and a kept column is copied."""
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    columns = {name: [row[name] for row in rows] for name in ("id", "text", "label")}
    stars = pa.array([index if index % 3 else None for index in range(len(rows))], pa.int16())
    # shards end within row groups, and row groups within shards
    parquet.write_table(pa.table({**columns, "stars": stars}), source, row_group_size=11)
    run(source, output, keep=("stars",))
    found = parquet.read_table(output)
    assert found.schema.names == ["id", "answer", "error", "stars"]
    assert found.schema.field("answer").type == pa.struct([("label", pa.string()), ("score", pa.float64())])
    assert found.schema.field("stars").type == pa.int16()
    assert_outputs_match(answers, found["answer"].to_pylist(), ATOL)
    assert found["id"].to_pylist() == columns["id"]
    assert found["stars"].combine_chunks() == stars
    assert found["error"].null_count == len(rows)


def test_one_kind_of_file_becomes_the_other(run, table, rows, answers, tmp_path):
    """JSON lines become Parquet, whose types are those of the values, and Parquet JSON lines."""
    run(table, tmp_path / "out.parquet", id="label", keep=("text",), options={"top_k": None})
    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in found] == [row["label"] for row in rows]
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert_outputs_match(answers, [row["answer"][0] for row in found], ATOL)
    assert {len(row["answer"]) for row in found} == {3}
    run(tmp_path / "out.parquet", tmp_path / "again.jsonl", keep=("text",))
    assert_outputs_match(answers, [row["answer"] for row in read_lines(tmp_path / "again.jsonl")], ATOL)


def test_rows_without_an_id_are_numbered(run, rows, tmp_path):
    """Where no column names a row its number does, over all files of a folder, which are read by name."""
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [{"review": row["text"]} for row in rows]
    write_lines(folder / "b.jsonl", texts[20:])
    write_lines(folder / "a.jsonl", texts[:20])
    run(folder, tmp_path / "out.jsonl", columns={"": "review"})
    run(write_lines(tmp_path / "all.jsonl", texts), tmp_path / "all_out.jsonl")
    assert [row["id"] for row in read_lines(tmp_path / "out.jsonl")] == list(range(len(rows)))
    labels = [
        [row["answer"]["label"] for row in read_lines(tmp_path / name)] for name in ("out.jsonl", "all_out.jsonl")
    ]
    assert labels[0] == labels[1]


def test_a_folder_of_images(run, url, tmp_path):
    """Images are found in all folders, by path, which is their id; one that is no image is an error and stops nobody."""
    folder = tmp_path / "images"
    shutil.copytree(asset("vit", "image-classification") / "sample", folder / "b" / "c")
    images = sorted((folder / "b" / "c").iterdir())
    for image in images[12:]:
        image.unlink()
    (folder / "b.png").write_bytes(images[0].read_bytes())
    (folder / "a.png").write_bytes(b"no image")
    (folder / ".hidden.png").write_bytes(images[0].read_bytes())
    (folder / "notes.txt").write_text("not read")
    summary = run(folder, tmp_path / "out.jsonl", name="clothes")
    found = read_lines(tmp_path / "out.jsonl")
    names = ["a.png", *(f"b/c/{image.name}" for image in images[:12]), "b.png"]
    assert [row["id"] for row in found] == names
    with pipeline(model="clothes", url=url) as look:
        expected = [None, *(look([str(folder / name)])[0] for name in names[1:])]
    assert_outputs_match(expected, [row["answer"] for row in found], ATOL)
    assert (summary.errors, list(found[0])) == (1, ["id", "answer", "error"])
    assert "not an image" in found[0]["error"]


def test_images_within_parquet(run, url, tmp_path):
    """Images may be bytes, records of bytes as data sets have them, and paths from where the file lies."""
    images = sorted((asset("vit", "image-classification") / "sample").iterdir())[:3]
    shutil.copy(images[2], tmp_path / "third.png")
    cells = [{"bytes": image.read_bytes(), "path": None} for image in images[:2]] + [
        {"bytes": None, "path": "third.png"}
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parquet.write_table(pa.table({"image": pa.array(cells, kind)}), tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.jsonl", name="clothes")
    with pipeline(model="clothes", url=url) as look:
        expected = [look([str(image)])[0] for image in images]
    assert_outputs_match(expected, [row["answer"] for row in read_lines(tmp_path / "out.jsonl")], ATOL)


def test_rows_that_cannot_be_answered_say_why(run, tmp_path, rows, answers):
    """A row's own fault is an error of that row: of what it lacks, of its type, and of lines that are none. An empty text is
    none."""
    good = json.dumps({"id": 1, "text": rows[0]["text"]})
    lines = [good, '{"id": 2}', "", '{"id": 3, "text": 7}', "{broken", '{"id": 4, "text": ""}', "[1]"]
    lines += ['{"id": 5, "text": "\\ud800"}', good]
    source = tmp_path / "in.jsonl"
    source.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    summary = run(source, tmp_path / "out.jsonl")
    found = read_lines(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == [1, 2, 3, None, 4, None, 5, 1]
    assert [row.get("error", "")[:28] for row in found] == [
        *("", "it has no text", "text should be a string, not", "the line is not JSON: Expect", ""),
        *("the line is not an object, b", "the text holds a lone surrog", ""),
    ]
    assert_outputs_match(found[0]["answer"], found[-1]["answer"], ATOL)
    assert found[0]["answer"]["label"] == answers[0]["label"]
    assert (summary.rows, summary.errors) == (8, 5)


def test_the_end_counts_one_as_one(url, rows, tmp_path):
    """A row and an error are no "rows" and "errors"."""
    source = write_lines(tmp_path / "in.jsonl", [{"text": 7}])
    done = call("sentiment", source, tmp_path / "out.jsonl", "--url", url)
    assert f"sentiment: 1 row in {tmp_path / 'out.jsonl'}, 1 error, " in done.stdout
    assert done.stderr.splitlines()[0].endswith("sentiment: 0 of 1 row")
    assert "1 of 1 row has no answer" in done.stderr


def test_the_command(url, table, rows, tmp_path):
    """Its progress is on stderr, its end on stdout, and in a report; it fails where rows do, unless that is allowed."""
    output, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    done = call("sentiment", table, output, "--url", url, "--option", "top_k=2", "--keep", "label", "--report", report)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"sentiment: 30 rows in {output}, 0 errors, ")
    assert done.stderr.splitlines()[-1].endswith("sentiment: 30 of 30 rows")
    assert {len(row["answer"]) for row in read_lines(output)} == {2}
    assert [row["label"] for row in read_lines(output)] == [row["label"] for row in rows]
    written = json.loads(report.read_text())
    assert (written["rows"], written["errors"]) == (30, 0)
    assert written["rows_per_second"] > 0
    write_lines(table, [*rows, {"id": "x"}])
    failed = call("sentiment", table, output, "--url", url, "--restart")
    assert (failed.exit_code, failed.stderr.splitlines()[-1]) == (
        1,
        f"hf2triton: 1 of 31 rows has no answer; the column error of {output} says why",
    )
    assert call("sentiment", table, output, "--url", url, "--restart", "--allow-errors").exit_code == 0
    assert len(read_lines(output)) == 31


def test_what_cannot_be_done_is_refused_before_it_begins(run, table, rows, tmp_path):
    """Wrong names, columns, options and inputs are told, with those that there are, and leave nothing behind."""
    output = tmp_path / "out.jsonl"
    empty, folder = write_lines(tmp_path / "empty.jsonl", []), tmp_path / "folder"
    numbers = write_lines(tmp_path / "numbers.jsonl", [1, 2])
    folder.mkdir()
    refused = {
        "has no column review; it has id, text, label": {"columns": {"text": "review"}},
        "has no column sense; it has text, text_pair": {"columns": {"sense": "text"}},
        "has no column key; it has id, text, label": {"id": "key"},
        "the output has a column answer of its own": {"keep": ("answer",)},
        "takes no topk; it takes": {"options": {"topk": 1}},
        "top_k must be 1 or more": {"options": {"top_k": 0}},
        "--labels is of zero-shot tasks": {"labels": "a,b"},
        "should end in .jsonl or .parquet": {"output": tmp_path / "out.csv"},
        "there is no file or folder": {"source": tmp_path / "none.jsonl"},
        "empty.jsonl holds no rows": {"source": empty},
        "hold no object with named columns": {"source": numbers},
        "--workers 2 is of Ray's actors: give --ray too": {"workers": 2},
        "should hold either images, or files of one of .jsonl, .parquet; it holds none": {"source": folder},
    }
    for said, options in refused.items():
        with pytest.raises((UsageError, InputError), match=said):
            run(**{"source": table, "output": output, **options})
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    shutil.copy(table, folder)
    with pytest.raises(UsageError, match=r"it holds .jsonl, .png"):
        run(folder, output, name="clothes")
    with pytest.raises(ConnectionFailed):
        run(table, output, url="localhost:1")
    assert sorted(tmp_path.iterdir()) == sorted([table, empty, numbers, folder])


def test_values_without_a_type_in_common_want_json_lines(run, rows, tmp_path):
    """Parquet's columns have one type: values of several are refused, at the start or where the first odd one comes."""
    texts = [{"text": rows[0]["text"], "key": 1}] * 1000
    at_once = write_lines(tmp_path / "at_once.jsonl", [*texts[:3], {**texts[0], "key": "one"}])
    with pytest.raises(UsageError, match="key have no type in common"):
        run(at_once, tmp_path / "out.parquet", keep=("key",))
    later = write_lines(tmp_path / "later.jsonl", [*texts, {**texts[0], "key": "one"}])
    with pytest.raises(ScoringError, match="the column key is not of type int64"):
        run(later, tmp_path / "out.parquet", keep=("key",), shard_size=500, batch_size=100)


def test_packages_that_are_missing_are_named(url, table, tmp_path, monkeypatch):
    """Parquet and Ray are extras; without them the command says which one to install, and leaves nothing behind."""
    for package, extra, options in (("pyarrow", "score", ()), ("ray", "ray", ("--ray", "local"))):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        done = call("sentiment", table, tmp_path / "out.parquet", "--url", url, *options)
        assert (done.exit_code, f"pip install 'hf2triton[{extra}]'" in done.stderr) == (1, True), done.output
        assert list(tmp_path.iterdir()) == [table]
        monkeypatch.undo()


def test_an_output_that_exists_is_not_overwritten(run, table, tmp_path):
    """Only with restart is an output replaced, and then when the new one is whole."""
    output = tmp_path / "out.jsonl"
    output.write_text("precious")
    with pytest.raises(UsageError, match=r"out.jsonl exists: remove it"):
        run(table, output)
    assert output.read_text() == "precious"
    run(table, output, restart=True)
    assert len(read_lines(output)) == 30
    assert [path for path in Path(tmp_path).iterdir() if path.name.endswith(".parts")] == []
