"""The file that declares a repository: what it means, and what is refused."""

import json
from dataclasses import fields
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from hf2triton.build.file import Defaults, Entry, build_schema, read_build_file
from hf2triton.cli import main
from hf2triton.core.options import ExportOptions
from hf2triton.demo.examples import DECLARED, SHOWS
from hf2triton.errors import UsageError

SCHEMA = json.loads(resources.files("hf2triton").joinpath("data", "build.schema.json").read_text())


@pytest.fixture
def write(tmp_path):
    """Writes a build file."""

    def write(text: str) -> Path:
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return path

    return write


def test_an_entry_has_its_own_options_and_the_defaults(write, tmp_path):
    """What an entry says wins over the defaults, and null over both: it is what `hf2triton export` does by itself."""
    declared = read_build_file(
        write("""
repository: models
defaults: {precision: fp32, threads: 2, release: "24.10", max_batch_size: 16}
entries:
  a: {source: org/name, revision: abc}
  b: {source: org/name, precision: int8, release: null, instances: 3, tolerances: {logits: {max_abs: 1e-3, cosine: null}}}
""")
    )
    assert declared.repository == tmp_path / "models"
    common = {"repository": tmp_path / "models", "threads": 2, "max_batch_size": 16}
    a = ExportOptions("org/name", "a", revision="abc", precision="fp32", release="24.10", **common)
    tolerances = {"logits": {"max_abs": 0.001, "cosine": None}}
    b = ExportOptions("org/name", "b", precision="int8", instances=3, tolerances=tolerances, **common)
    assert declared.entries == {"a": a, "b": b}


def test_paths_are_relative_to_the_file(write, tmp_path, monkeypatch):
    """Folders and files are found from where the file lies, and said as short as they can be; hub ids stay as they are."""
    (tmp_path / "plain").mkdir()
    path = write("""
entries:
  a: {source: plain, adapter: ../adapters/a, calibration: texts.txt, precision_plan: plan.json}
  b: {source: ./gone}
  c: {source: org/plain}
  d: {source: package:some_weights/model}
""")
    entries = read_build_file(path).entries
    a = entries["a"]
    assert (a.source, a.adapter) == (str(tmp_path / "plain"), str(tmp_path.parent / "adapters" / "a"))
    assert (a.calibration, a.precision_plan) == (tmp_path / "texts.txt", tmp_path / "plan.json")
    sources = [entries[name].source for name in "bcd"]
    assert sources == [str(tmp_path / "gone"), "org/plain", "package:some_weights/model"]
    monkeypatch.chdir(tmp_path)
    assert read_build_file(path).entries["a"].source == "plain"
    assert read_build_file(path).repository == Path("model_repository")
    assert read_build_file(path, tmp_path / "other").entries["a"].repository == tmp_path / "other"


@pytest.mark.parametrize("labels", ["[NO, YES]", "{0: 'NO', 1: 'YES'}"])
def test_labels_are_a_list_or_a_mapping(write, labels):
    """Both give the labels in the order of the head; YAML's own yes and no are another matter."""
    text = f"entries:\n  a:\n    source: x/y\n    labels: {labels}"
    if "'" in labels:
        assert read_build_file(write(text)).entries["a"].labels == ("NO", "YES")
    else:
        with pytest.raises(
            UsageError, match=r"line 4: entries\.a\.labels\.0: False is read as a bool: put it in quotes"
        ):
            read_build_file(write(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "entries: {a: {source: x, precison: fp16}}",
            "entries.a has the unknown key 'precison': did you mean 'precision'?",
        ),
        ("entry: {}", "the file has the unknown key 'entry': did you mean 'entries'?"),
        (
            "zzz: 1\nentries: {a: {source: x}}",
            "line 1: the file has the unknown key 'zzz': known are repository, defaults",
        ),
        ("defaults: {source: x}\nentries: {a: {source: x}}", "defaults has the unknown key 'source'"),
        (
            "entries:\n  a:\n    source: x\n    tolerances:\n      logits: {max_ab: 1}",
            "line 5: entries.a.tolerances.logits has the unknown key 'max_ab': did you mean 'max_abs'?",
        ),
        ("entries: {a: {task: fill-mask}}", "entries.a.source is missing"),
        ("entries: {}", "entries: {} "),
        ("repository: x", "entries is missing"),
        ("", "entries is missing"),
        ("- a", "the file must be a mapping"),
        ("entries: {a: }", "entries.a must be a mapping"),
        ("entries: {a: {source: x, precision: fp8}}", "entries.a.precision: 'fp8' should be 'fp32', 'fp16' or 'int8'"),
        ("entries: {a: {source: x, task: fil-mask}}", "entries.a.task: task 'fil-mask' is unknown; known are feature-"),
        ("entries: {a: {source: x, release: 24.10}}", "entries.a.release: 24.1 is read as a float: put it in quotes"),
        ("entries: {a: {source: x, release: '19.01'}}", "'19.01' is unknown; known are 23.12"),
        ("entries: {a: {source: x, threads: '2'}}", "entries.a.threads: '2' should be a valid integer"),
        (
            "entries: {a: {source: x, max_batch_size: 0}}",
            "entries.a.max_batch_size: 0 should be greater than or equal to 1",
        ),
        ("entries: {a: {source: x, labels: {0: a, 2: b}}}", "the labels' numbers must be 0 to 1, not 0, 2"),
        (
            "entries: {a: {source: x, tolerances: {y: {max_abs: .nan}}}}",
            "entries.a.tolerances.y.max_abs: nan should be",
        ),
        ("entries: {1: {source: x}}", "entries has the name 1, which is not a text: put it in quotes"),
        ("entries: {a b: {source: x}}", "line 1: 'a b' is not a valid model name"),
        ("entries: {a_model: {source: x}}", "'a_model' ends in _model"),
        (
            "entries:\n  a: {source: x}\n  b: {source: y}\n  a: {source: z}",
            "the key 'a' is there twice, first in line 2",
        ),
        ("entries: {a: {source: x, source: y}}", "the key 'source' is there twice"),
        ("entries: [", "cannot be read: while parsing"),
        ("entries: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_what_is_wrong_is_refused(write, text, message):
    """With the file, the line, the entry, the key, and what was meant or is known."""
    path = write(text)
    with pytest.raises(UsageError) as error:
        read_build_file(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_all_that_is_wrong_is_said_at_once(write):
    """Each problem in a line of its own, in the order of the file."""
    path = write("entries:\n  a: {sorce: x}\n  b: {source: y, thread: 1}\n")
    with pytest.raises(UsageError) as error:
        read_build_file(path)
    assert str(error.value).splitlines() == [
        f"{path} is not a valid build file",
        "  line 2: entries.a has the unknown key 'sorce': did you mean 'source'?",
        "  line 2: entries.a.source is missing",
        "  line 3: entries.b has the unknown key 'thread': did you mean 'threads'?",
    ]


def test_a_file_that_is_not_there(tmp_path):
    """Is wrong usage."""
    result = CliRunner().invoke(main, ["build", str(tmp_path / "gone.yaml")])
    assert result.exit_code == 2
    assert "gone.yaml cannot be read: [Errno 2] No such file" in result.stderr


def test_every_option_of_an_export_is_a_key():
    """But for the name, which is the entry's, the repository, which is the file's, and whether to write at all."""
    options = {field.name for field in fields(ExportOptions)} - {"name", "repository", "dry_run"}
    assert set(Entry.model_fields) == options
    assert set(Defaults.model_fields) < options
    assert all(field.description for field in Entry.model_fields.values())


def test_the_published_schema_is_the_codes(write):
    """`hf2triton schema build` prints it, and the file in the package is what the models give."""
    assert build_schema() == SCHEMA
    result = CliRunner().invoke(main, ["schema", "build"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, SCHEMA)
    assert CliRunner().invoke(main, ["schema", "nope"]).exit_code == 2


def test_editors_see_what_is_refused():
    """The schema takes the reference repository's file, and neither unknown keys nor wrong values."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    content = yaml.safe_load(DECLARED.read_text())
    assert validator.is_valid(content)
    for wrong in ({"precison": "fp16"}, {"precision": "fp8"}, {"release": 24.1}, {"labels": [1]}, {"task": "fil-mask"}):
        assert not validator.is_valid({"entries": {"a": {"source": "x", **wrong}}}), wrong
    for right in (
        {"labels": {"0": "a"}},
        {"labels": ["a"]},
        {"release": None},
        {"tolerances": {"logits": {"max_abs": 1}}},
    ):
        assert validator.is_valid({"entries": {"a": {"source": "x", **right}}}), right


def test_the_reference_repository_is_what_the_demo_shows():
    """Each entry of its file has something to ask of it, and is exported for the task that is asked."""
    declared = read_build_file(DECLARED)
    assert {name: options.task for name, options in declared.entries.items()} == {
        show.name: show.task for show in SHOWS
    }
    assert declared.repository.resolve() == DECLARED.parent
