"""Building what a file declares: only what changed, the same each time, and nothing by halves."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.build.build import build
from hf2triton.build.file import read_build_file
from hf2triton.build.plan import plan_build
from hf2triton.cli import console, main
from hf2triton.core.layout import served_version
from hf2triton.errors import UsageError
from hf2triton.export.pipeline import export
from hf2triton_client.evaluation.baseline import Baseline

from ...support import ASSETS, environment_without, snapshot

#: An encoder in fp16 and one in int8, with a plan searched for; and a decoder.
DECLARED = f"""
entries:
  sentiment: {{source: {ASSETS / "distilbert-sentiment"}}}
  answers: {{source: {ASSETS / "bert-qa"}, precision: int8, runner: bls}}
  verses: {{source: {ASSETS / "gpt2-verses"}}}
"""
#: What may differ from build to build: measured times, and what tells when it was.
MEASURED = ("front.json", "manifest.json", "baseline.json")


def run(*arguments):
    return CliRunner().invoke(main, ["build", *map(str, arguments)])


def start(file, repository, **environment):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "hf2triton", "build", str(file), "--repository", str(repository)]
    environment = {**environment_without("PYTHONHASHSEED"), **environment}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "models.yaml"
    path.write_text(DECLARED)
    return path


@pytest.fixture(scope="module")
def twice(file, tmp_path_factory):
    """Two repositories built from one file, by processes that order their sets differently; and what was printed."""
    folders = [tmp_path_factory.mktemp("build") / "repository" for _ in range(2)]
    processes = [start(file, folder, PYTHONHASHSEED=seed) for folder, seed in zip(folders, "12", strict=True)]
    printed = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    return folders, printed


@pytest.fixture
def repository(twice, tmp_path):
    """A copy of what was built, to be changed."""
    return Path(shutil.copytree(twice[0][0], tmp_path / "repository"))


def test_the_same_file_gives_the_same_bytes(twice):
    """Graphs, configs, tokenizers and code, whatever the seed of Python's hashes; what was measured aside."""
    one, other = (
        {path: digest for path, digest in snapshot(folder).items() if Path(path).name not in MEASURED}
        for folder in twice[0]
    )
    assert one == other
    for path in ("sentiment/1/model.onnx", "answers_model/1/model.onnx", "verses/1/model.onnx", "verses/config.pbtxt"):
        assert path in one


def test_what_is_said_where_there_is_no_terminal(twice):
    """The plan first, on stdout; then lines with the time and no colours on stderr; one line of summary at the end."""
    for stdout, stderr in twice[1]:
        title, columns, *rows, summary = stdout.strip().splitlines()
        assert title.endswith("repository")
        assert columns.split() == ["entry", "task", "precision", "state", "why"]
        assert [row.split()[0] for row in rows] == ["sentiment", "answers", "verses"]
        assert all(row.endswith("new") for row in rows)
        assert re.search(r"models\.yaml: 3 built, \d+ s, \d\.\d\d GB at its peak$", summary)
        lines = stderr.strip().splitlines()
        assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
        assert any(re.match(r"\d\d:\d\d:\d\d \[2/3\] answers: export the graph$", line) for line in lines)
        assert "\x1b" not in stdout + stderr


def test_what_is_there_is_not_built_again(file, repository, monkeypatch):
    """Nothing is exported, and nothing written."""
    monkeypatch.setattr("hf2triton.build.build.export", lambda *_: pytest.fail("exported"))
    before = snapshot(repository)
    result = run(file, "--repository", repository)
    assert (result.exit_code, snapshot(repository)) == (0, before)
    assert "models.yaml: 3 unchanged, " in result.stdout
    assert run(file, "--repository", repository, "--check").exit_code == 0


def test_only_what_changed_is_built(file, repository, tmp_path):
    """As the next version; with the labels, the instances and the tolerances that the file gives."""
    changed = tmp_path / "changed.yaml"
    more = "labels: [BAD, GOOD], instances: 2, tolerances: {logits: {max_abs: 0.04, argmax: null}}}"
    changed.write_text(DECLARED.replace("distilbert-sentiment}", f"distilbert-sentiment, {more}"))
    report = tmp_path / "report.json"
    check = run(changed, "--repository", repository, "--check")
    assert check.exit_code == 1
    assert (
        check.stderr.splitlines()[-1]
        == f"hf2triton: {repository} is not what {changed} declares: 1 changed, 2 unchanged"
    )
    planned = run(changed, "--repository", repository, "--plan")
    assert planned.exit_code == 0
    assert re.search(r"sentiment .* changed +instances 1 → 2; labels changed; tolerances changed\n", planned.stdout)
    assert served_version(repository, "sentiment") == 1
    result = run(changed, "--repository", repository, "--report", report)
    assert (result.exit_code, "1 built, 2 unchanged" in result.stdout) == (0, True), result.output
    assert {name: served_version(repository, name) for name in ("sentiment", "answers", "verses")} == {
        **{"sentiment": 2, "answers": 1, "verses": 1}
    }
    config = text_format.Parse((repository / "sentiment" / "config.pbtxt").read_text(), pb.ModelConfig())
    settings = json.loads(config.parameters["hf2triton"].string_value)
    assert settings["id2label"] == {"0": "BAD", "1": "GOOD"}
    assert [group.count for group in config.instance_group] == [2]
    tolerance = Baseline.load(repository / "sentiment" / "2" / "baseline.safetensors").tolerances["logits"]
    assert (tolerance.max_abs, tolerance.mean_abs, tolerance.argmax) == (0.04, 0.01, None)
    written = json.loads(report.read_text())
    assert written["plan"]["entries"]["sentiment"]["state"] == "changed"
    assert list(written["built"]) == ["sentiment"]
    assert run(changed, "--repository", repository, "--check").exit_code == 0


def test_damage_is_repaired(file, repository):
    """An entry whose files are not what was written is built again, as the next version, and served."""
    (repository / "sentiment" / "1" / "model.onnx").write_bytes(b"")
    assert run(file, "--repository", repository, "--check").exit_code == 1
    result = run(file, "--repository", repository)
    assert (result.exit_code, "1 built, 2 unchanged" in result.stdout) == (0, True), result.output
    assert served_version(repository, "sentiment") == 2
    assert run(file, "--repository", repository, "--check").exit_code == 0


FAILING = f"""
entries:
  gone: {{source: ./nowhere}}
  wrong: {{source: {ASSETS / "distilbert-ner"}, precision: fp32, tolerances: {{logits: {{max_abs: 0.0}}}}}}
  fine: {{source: {ASSETS / "distilbert-sentiment"}, precision: fp32}}
"""


def test_an_entry_that_fails_does_not_stop_the_others(tmp_path):
    """The exit code is the highest, 3 where parity failed; each failure has its line, and all are named in the summary."""
    path, repository = tmp_path / "models.yaml", tmp_path / "model_repository"
    path.write_text(FAILING)
    result = run(path, "--report", tmp_path / "report.json")
    assert result.exit_code == 3, result.output
    assert sorted(path.name for path in repository.iterdir()) == [".lock", "fine"]
    assert "hf2triton: gone: there is no folder" in result.stderr
    assert re.search(r"hf2triton: wrong: require parity: the exported model is not the trained one: .*", result.stderr)
    assert f"{path}: 1 built, 2 failed (gone, wrong), " in result.stdout
    errors = json.loads((tmp_path / "report.json").read_text())["built"]
    assert [errors[name]["exit_code"] for name in ("gone", "wrong")] == [1, 3]
    assert run(path, "--plan").exit_code == 1
    fast = run(path, "--fail-fast")
    assert fast.exit_code == 1
    assert "1 unchanged, 1 failed (gone), 1 left to build, run it again, " in fast.stdout


@pytest.mark.slow
def test_a_build_that_was_ended_goes_on(tmp_path, twice):
    """SIGTERM takes back what is half done and says so; SIGKILL leaves nothing that is served by halves. Run again, it builds
    what is left, to the same bytes."""
    repository, temporary, file = (
        tmp_path / "repositories" / "repository",
        tmp_path / "temporary",
        tmp_path / "file.yaml",
    )
    temporary.mkdir()
    file.write_text("\n".join(line for line in DECLARED.splitlines() if "verses" not in line))

    def end(number, stage):
        with start(file, repository, TMPDIR=str(temporary)) as process:
            for line in process.stderr:
                if line.rstrip().endswith(stage):
                    process.send_signal(number)
                    break
            stdout, _ = process.communicate()
        return process.returncode, stdout.strip().splitlines()[-1]

    code, summary = end(signal.SIGTERM, "[1/2] sentiment: measure parity")
    assert (code, "interrupted, 2 left to build, run it again" in summary) == (1, True)
    assert not repository.exists()
    assert not list(temporary.glob("hf2triton-*"))
    code, _ = end(signal.SIGKILL, "[2/2] answers: publish")
    assert code == -signal.SIGKILL
    assert served_version(repository, "sentiment") == 1
    sentiment, answers = plan_build(read_build_file(file, repository)).entries
    assert sentiment.state == "unchanged"
    assert answers.state in ("new", "damaged", "unchanged")  # as far as it came before it died
    done = start(file, repository, TMPDIR=str(temporary))
    _, stderr = done.communicate()
    assert done.returncode == 0, stderr
    assert "sentiment: export" not in stderr
    assert run(file, "--repository", repository, "--check").exit_code == 0
    assert list(repository.parent.iterdir()) == [repository]
    for name in ("sentiment", "answers_model"):
        version = str(served_version(repository, name.removesuffix("_model")))
        graph, first = (repository / name / version, twice[0][0] / name / "1")
        assert (graph / "model.onnx").read_bytes() == (first / "model.onnx").read_bytes()


def test_a_bar_on_terminals(monkeypatch):
    """Entries done of all, and the current stage; it goes when the build is done."""
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with console.progress_of(3) as advance:
        advance("sentiment: export the graph", 1)
    assert "1/3" in terminal.getvalue()
    assert "sentiment: export the graph …" in terminal.getvalue()


def test_decoders_have_slots_instead_of_instances(tmp_path):
    """A second instance would hold a second cache; more sequences at once are a larger batch."""
    path = tmp_path / "models.yaml"
    path.write_text(f"entries: {{verses: {{source: {ASSETS / 'gpt2-verses'}, instances: 2}}}}")
    result = run(path)
    assert result.exit_code == 2
    assert (
        "verses: text-generation is served with 1 instance alone, and batches in its slots, not with 2" in result.stderr
    )


@pytest.mark.parametrize(
    ("source", "labels", "message"),
    [
        ("bert-nli", ("a", "b"), r"2 labels are given \(a, b\), and the head has 3"),
        ("distilbert-mlm", ("a",), r"1 labels are given \(a\), and the task, fill-mask, has none"),
    ],
)
def test_labels_must_fit_the_head(tmp_path, source, labels, message):
    """A wrong number of them, or labels for a head that has none, are refused."""
    from hf2triton.core.options import ExportOptions

    with pytest.raises(UsageError, match=message):
        export(ExportOptions(str(ASSETS / source), "x", labels=labels, repository=tmp_path / "r"))


def test_labels_can_make_a_head_fit_a_task(tmp_path):
    """Natural language inference needs a label that some checkpoints call LABEL_0."""
    from hf2triton.checkpoint.loader import load_checkpoint
    from hf2triton.checkpoint.source import find_source
    from hf2triton.errors import HeadMissing

    source = find_source(str(shutil.copytree(ASSETS / "bert-nli", tmp_path / "nli")))
    labels = ["LABEL_0", "LABEL_1", "LABEL_2"]
    source.config["id2label"] = dict(enumerate(labels))
    path = tmp_path / "nli" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "id2label": dict(enumerate(labels)), "label2id": {}}))
    with pytest.raises(HeadMissing, match="needs a label 'entailment'"):
        load_checkpoint(source, "zero-shot-classification")
    given = load_checkpoint(source, "zero-shot-classification", None, ["entailment", "neutral", "contradiction"])
    assert given.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}


def test_tolerances_hold_for_all_that_the_graphs_outputs_give():
    """A decoder's tokens are judged as its logits are; what is not given stays the task's."""
    from hf2triton.engines.common.resolve import tolerances_of
    from hf2triton.tasks import TASKS

    endpoint = TASKS["text-generation"].endpoints[0]
    own = endpoint.outputs[0].tolerances["fp16"]
    found = tolerances_of(endpoint, {"logits": own, "token_ids": own}, {"logits": {"max_abs": 0.3}})
    assert {name: (one.max_abs, one.mean_abs, one.cosine) for name, one in found.items()} == dict.fromkeys(
        ("logits", "token_ids"), (0.3, own.mean_abs, own.cosine)
    )
    assert tolerances_of(endpoint, {"logits": own}, {}) == {"logits": own}


def test_build_gives_what_became_of_each_entry(tmp_path):
    """In Python: reports of those that were built, errors of those that were not, in the order of the file."""
    path = tmp_path / "models.yaml"
    path.write_text(FAILING)
    seen = []
    results = list(build(plan_build(read_build_file(path)), lambda stage, done: seen.append((stage, done)), True))
    assert [(one.name, one.report, one.error.exit_code) for one in results] == [("gone", None, 1)]
    assert seen == []
