"""`hf2triton lint` on repositories: what is right passes, and each thing that is wrong is found by its rule alone."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.demo.examples import DECLARED
from hf2triton.errors import RepositoryError, UnknownName
from hf2triton.lint import ERROR, NOTE, RULES, WARNING, lint

from ...support import snapshot
from ..conftest import ENTRIES
from .breaking import appended, document
from .broken import BREAKS


def found(report):
    """The rules that found errors and warnings."""
    return {one.rule for one in report.findings if one.severity != NOTE}


@pytest.fixture
def copy(assorted, tmp_path):
    return Path(shutil.copytree(assorted, tmp_path / "model_repository"))


def test_what_was_exported_is_clean(assorted):
    """For a CPU, CUDA and TensorRT, texts, images and generation: no error and no warning; the note says what is left open."""
    before = snapshot(assorted)
    report = lint(assorted)
    assert [one for one in report.findings if one.severity != NOTE] == []
    assert [(one.rule, one.where) for one in report.findings] == [("release-cve", "plain, verses")]
    assert report.models == ("gpu", "gpu_model", "plain", "trt", "trt_model", "verses")
    assert report.passed(strict=True)
    assert snapshot(assorted) == before


def test_the_committed_configs_are_clean():
    """But that git keeps no versions of them."""
    report = lint(DECLARED.parent)
    assert found(report) == {"version-none"}
    assert report.count(ERROR) == len(report.models) > 8


@pytest.mark.parametrize("case", BREAKS)
def test_what_is_wrong_is_found_by_its_rule(copy, case):
    """And by no other, but where one thing breaks two; the finding says where. Digests are another matter."""
    wrong = BREAKS[case]
    wrong.breaks(copy)
    report = lint(copy, ignore=() if wrong.rule == "digest" else ("digest",), **wrong.options)
    assert found(report) == {wrong.rule} | wrong.also
    [place, *_] = [one for one in report.findings if one.rule == wrong.rule]
    assert place.where.startswith(wrong.where)
    assert len(place.message) > 20


def test_every_rule_has_something_that_breaks_it():
    """Those of a server are in test_lint_server.py; notes are no failure."""
    tested = {one.rule for one in BREAKS.values()}
    assert tested == {id for id, rule in RULES.items() if rule.scope != "server" and rule.severity != NOTE}


def test_names_choose_entries_and_models(copy):
    """An entry is its frontends and its graphs; what is wrong elsewhere is not told."""
    BREAKS["another name"].breaks(copy)
    assert lint(copy, ("gpu",)).models == ("gpu", "gpu_model")
    assert lint(copy, ("gpu_model", "verses")).models == ("gpu_model", "verses")
    assert lint(copy, ("gpu",)).passed()
    assert not lint(copy, ("plain",)).passed()
    with pytest.raises(RepositoryError, match=r"no model or entry 'other' .known: gpu, gpu_model, plain"):
        lint(copy, ("other",))


def test_a_repository_that_is_not_ours(tmp_path):
    """Whatever needs no manifest is checked, and a note says what was not."""
    folder = tmp_path / "theirs"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text("import subprocess\n")
    (folder / "config.pbtxt").write_text('backend: "python"\nmax_batch_size: 8\n')
    report = lint(tmp_path)
    assert found(report) == {"config-instances", "python-code"}
    assert {one.rule for one in report.findings if one.severity == NOTE} == {"manifest-none"}


def test_code_of_another_version_is_a_note(copy):
    """What an older hf2triton wrote is not wrong."""
    with (copy / "plain" / "1" / "text.py").open("a") as file:
        file.write("\n# older\n")
    report = lint(copy, ignore=("digest",))
    assert report.passed(strict=True)
    assert [one.more for one in report.findings if one.rule == "version-code"] == [("text.py",)]


def test_what_python_keeps_is_a_note(copy):
    """Servers that may write leave compiled code beside the source: one finding a model, however many folders have it."""
    cache = copy / "plain" / "1" / "__pycache__"
    cache.mkdir()
    (cache / "model.cpython-311.pyc").write_bytes(b"")
    for place, module in (("", "model"), ("generation", "cache"), ("generation", "sampling")):
        within = copy / "verses" / "1" / place / "__pycache__"
        within.mkdir(exist_ok=True)
        (within / f"{module}.cpython-311.pyc").write_bytes(b"")
    report = lint(copy)
    assert report.passed(strict=True)
    assert [(one.where, one.more) for one in report.findings if one.rule == "file-pickle"] == [
        ("plain/1/__pycache__", ("plain/1/__pycache__",)),
        ("verses/1", ("verses/1/__pycache__", "verses/1/generation/__pycache__")),
    ]


def test_digests_wait_for_a_config_that_can_be_read(copy):
    """Which version is served is unknown without one: an older one's files are not taken for damaged."""
    shutil.copytree(copy / "plain" / "1", copy / "plain" / "2")
    document("plain/2/manifest.json", lambda about: about.update(version=2))(copy)
    appended("plain/2/baseline.json", " ")(copy)
    config = copy / "plain" / "config.pbtxt"
    assert "specific" in config.read_text()
    assert found(lint(copy)) == set()
    config.write_text(config.read_text().replace("TYPE_STRING", "TYPE_INT65", 1))
    report = lint(copy)
    assert found(report) == {"config-unreadable"}
    assert ".. Triton" not in report.findings[0].message
    assert "TYPE_INT65. Triton refuses the model" in report.findings[0].message


def test_no_repository_no_models_and_unknown_rules(tmp_path):
    """Each says what is wrong; an unknown rule lists the known ones."""
    with pytest.raises(RepositoryError, match="no model repository at"):
        lint(tmp_path / "nowhere")
    with pytest.raises(RepositoryError, match="holds no models"):
        lint(tmp_path)
    with pytest.raises(UnknownName, match="rule 'digests' is unknown; known are config-unreadable"):
        lint(tmp_path, ignore=("digests",))


def test_gpus_of_their_own_are_not_added_up(copy):
    """Entries that name different GPUs share none."""
    for name, gpu in (("gpu", 0), ("trt", 1)):
        path = copy / name / "1" / "manifest.json"
        about = json.loads(path.read_text())
        about["options"]["gpus"] = [gpu]
        about["serving"]["memory"]["total"] = 9 * 10**9
        path.write_text(json.dumps(about))
    assert found(lint(copy, ignore=("digest",))) == set()


def run(*arguments):
    return CliRunner().invoke(main, ["lint", *map(str, arguments)])


def test_the_command_prints_writes_and_exits(copy, tmp_path):
    """0 without errors; 1 with them, and with --strict for warnings; 2 for wrong usage. The report has all of it."""
    assert run(copy).exit_code == 0
    assert run(copy).stdout.endswith("6 models: 1 note\n")
    assert run(copy, "gpu_model").stdout.endswith("1 model: nothing wrong\n")
    BREAKS["a bounded queue"].breaks(copy)
    assert run(copy, "--ignore", "digest").exit_code == 0
    assert run(copy, "--ignore", "digest", "--strict").exit_code == 1
    report = tmp_path / "report.json"
    result = run(copy, "--report", report)
    assert result.exit_code == 1
    assert "config-queue" in result.stdout
    assert "6 models: 1 error, 1 warning, 1 note" in result.stderr
    written = json.loads(report.read_text())
    assert written["counts"] == {ERROR: 1, WARNING: 1, NOTE: 1}
    assert [one["rule"] for one in written["findings"]] == ["digest", "config-queue", "release-cve"]
    assert run(copy, "--ignore", "nothing").exit_code == 2
    assert run(copy, "--gpu-memory", "much").exit_code == 2
    assert run(copy, *ENTRIES, "--gpu-memory", "1GB").exit_code == 1
