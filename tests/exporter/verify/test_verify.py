"""An entry's graph in the onnxruntime of Triton releases: each really installed, on real inputs."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.core.layout import graph_file
from hf2triton.errors import RepositoryError, UnknownName
from hf2triton.graph.passes.release import RELEASES
from hf2triton.verify import run_graph
from hf2triton.verify.verify import question_of, releases_of

from ...conftest import export_asset

OLDEST, MIDDLE, NEWEST = "23.12", "25.03", "26.08"
#: name -> family, task, precision and what else the entry is exported with.
ENTRIES = {
    "bert-old": ("bert", "text-classification", "fp16", {"release": OLDEST}),
    "verses-old": ("gpt2", "text-generation", "fp16", {"release": OLDEST, "attention": "standard"}),
    "bert": ("bert", "text-classification", "fp16", {"release": MIDDLE}),
    "answers": ("bert", "question-answering", "fp32", {}),
    "verses": ("gpt2", "text-generation", "fp16", {}),
    "clothes": ("clip", "zero-shot-image-classification", "fp16", {"release": MIDDLE, "runner": "bls"}),
}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify") / "model_repository"
    for name, (family, task, precision, options) in ENTRIES.items():
        export_asset(folder, family, task, precision, name=name, **options)
    return folder


@pytest.fixture
def verify(entries, runtimes, tmp_path):
    """Runs the command; gives its result and its report."""

    def run(name, *releases, repository=entries):
        report = tmp_path / "report.json"
        options = [word for release in releases for word in ("--release", release)]
        result = CliRunner().invoke(
            main, ["verify", name, *options, "--repository", str(repository), "--report", str(report)]
        )
        return result, json.loads(report.read_text()) if report.exists() else None

    return run


@pytest.fixture
def copy(entries, tmp_path):
    """A repository of its own with the entry `bert`, to break."""
    shutil.copytree(entries / "bert", tmp_path / "copy" / "bert")
    return tmp_path / "copy"


def test_an_entry_runs_on_the_release_it_was_made_for(verify):
    """Without --release it is the release of the export: here the oldest, whose onnxruntime keeps some nodes in fp32."""
    result, report = verify("bert-old")
    assert result.exit_code == 0, result.output
    assert report["passed"] is True
    [run] = report["runs"]
    assert (run["release"], run["onnxruntime"], run["front"]) == ("23.12–24.02", "1.16.3", "bert-old")
    assert {check["name"] for check in run["checks"]} == {"one row a call", "batches of 8, padded"}
    assert all(0 < check["max_abs"] < 0.05 for check in run["checks"])
    assert "23.12–24.02  1.16.3       9/19      bert-old" in result.stdout


def test_a_decoder_in_standard_ops_runs_on_the_oldest(verify):
    """Whole texts, and prompts in pieces with steps after them, give PyTorch's logits and tokens."""
    result, report = verify("verses-old")
    assert result.exit_code == 0, result.output
    [run] = report["runs"]
    names = [(check["name"], check["output"]) for check in run["checks"]]
    assert names == [
        (layout, output)
        for layout in ("whole texts, one a call", "prompts in pieces of 7, then steps")
        for output in ("logits", "token_ids")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "answers", "verses"])
def test_fused_attention_runs_on_the_middle_and_the_newest(verify, name):
    """Several releases may be named; each is a row, whatever the order."""
    result, report = verify(name, NEWEST, MIDDLE)
    assert result.exit_code == 0, result.output
    assert [run["onnxruntime"] for run in report["runs"]] == ["1.21.0", "1.28.0"]
    assert report["passed"] is True


def test_int8_is_computed_as_it_is_served(entries, tmp_path):
    """Sums of products that do not fit into 16 bits: they saturate on x86 without VNNI where the frontend's option is missing."""
    question, options = question_of(entries, "bert"), {"session.x64quantprecision": "1"}
    assert question.job["session"] == options
    assert question_of(entries, "clothes_image").job["session"] == {}, "Triton's own backend has no such option"
    rows, weights = np.full((1, 64), 255, np.uint8), np.full((64, 64), 127, np.int8)
    a = ir.val("a", ir.DataType.UINT8, [1, 64])
    b = ir.val("b", const_value=ir.tensor(weights, name="b"))
    node = ir.node("MatMulInteger", [a, b])
    node.outputs[0].name = "y"
    graph = ir.Graph([a], node.outputs, nodes=[node], initializers=[b], opset_imports={"": 17})
    ir.save(ir.Model(graph, ir_version=8), tmp_path / "model.onnx")
    np.savez(tmp_path / "calls.npz", **{"0/a": rows})
    files = {"graph": "model.onnx", "calls": "calls.npz", "answers": "answers.npz"}
    job = {"outputs": ["y"], "session": options, **{key: str(tmp_path / name) for key, name in files.items()}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, "-I", run_graph.__file__, tmp_path / "job.json"], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == {"error": None}
    assert (np.load(tmp_path / "answers.npz")["0/y"] == rows.astype(int) @ weights.astype(int)).all()


def test_both_frontends_of_an_entry_and_the_graph_behind_them(verify):
    """CLIP's two frontends are verified, with the graphs in models of their own."""
    result, report = verify("clothes")
    assert result.exit_code == 0, result.output
    assert [run["front"] for run in report["runs"]] == ["clothes_text", "clothes_image"]


def test_a_graph_with_data_beside_it(verify, copy):
    """Above 2 GB model.onnx is a folder with the graph and its data."""
    path = copy / "bert" / "1" / "model.onnx"
    model = ir.load(path)
    path.rename(path.with_name("whole"))
    path.mkdir()
    ir.save(model, path / "model.onnx", external_data="model.data", size_threshold_bytes=1024)
    assert (path / "model.data").stat().st_size > 100_000
    assert graph_file(copy, "bert", 1) == path / "model.onnx"
    result, _ = verify("bert", MIDDLE, repository=copy)
    assert result.exit_code == 0, result.output


def test_a_graph_that_does_not_load_exits_1(verify, copy):
    """onnxruntime's own words are the result."""
    path = copy / "bert" / "1" / "model.onnx"
    model = ir.load(path)
    model.ir_version = 13
    ir.save(model, path)
    result, report = verify("bert", MIDDLE, NEWEST, repository=copy)
    assert result.exit_code == 1, result.output
    old, new = report["runs"]
    assert "Unsupported model IR version: 13, max supported IR version: 10" in old["error"]
    assert old["checks"] == []
    assert new["passed"] is True
    assert str(copy) not in result.stdout


def test_a_changed_weight_exits_3(verify, copy):
    """A graph that is not the trained model's is found out, and what differs is named."""
    path = copy / "bert" / "1" / "model.onnx"
    model = ir.load(path)
    bias = next(value for name, value in model.graph.initializers.items() if "classifier.bias" in name)
    bias.const_value = ir.Tensor(bias.const_value.numpy() + 1, name=bias.name)
    ir.save(model, path)
    result, report = verify("bert", MIDDLE, repository=copy)
    assert result.exit_code == 3, result.output
    assert "one row a call, logits: largest difference" in result.stdout
    assert report["passed"] is False


def test_the_interpreter_itself_may_end(verify, copy, monkeypatch):
    """What kills the other interpreter is an error of the graph, not ours."""
    monkeypatch.setattr("hf2triton.verify.verify._SCRIPT", copy / "crash.py")
    (copy / "crash.py").write_text("import os; os.abort()")
    result, report = verify("bert", MIDDLE, repository=copy)
    assert result.exit_code == 1, result.output
    assert report["runs"][0]["error"] == "ended with -6"


def test_wrong_names(verify, entries):
    """Unknown releases are usage errors, unknown entries failures; both list what is known."""
    result, _ = verify("bert", "24.13")
    assert (result.exit_code, "known are 23.12–24.02" in result.stderr) == (2, True)
    result, _ = verify("nope")
    assert (result.exit_code, "has no entry 'nope' (known: answers, bert" in result.stderr) == (1, True)
    with pytest.raises(RepositoryError, match="has no graph"):
        graph_file(entries, "bert", 7)


def test_which_releases_are_meant(entries):
    """Those that are named, all, the export's own, or three from the first on that the graph runs on."""
    default, fitted = question_of(entries, "answers"), question_of(entries, "bert")
    assert [row.first for row in releases_of((), [default])] == ["24.05", "25.05", "26.08"]
    assert [row.first for row in releases_of((), [question_of(entries, "verses")])] == ["24.12", "25.08", "26.08"]
    assert [row.first for row in releases_of((), [fitted])] == ["25.03"]
    assert [row.first for row in releases_of(("26.01", "24.06"), [fitted])] == ["24.05", "25.08"]
    assert releases_of(("all",), [fitted]) == list(RELEASES)
    with pytest.raises(UnknownName):
        releases_of(("all", "nope"), [fitted])


@pytest.mark.slow
def test_a_decoder_on_a_release_that_answers_wrongly(verify):
    """1.19 loads GroupQueryAttention and takes prompts in pieces, but not rightly: the export promises 24.12, and this is why."""
    result, report = verify("verses", "24.08")
    assert result.exit_code == 3, result.output
    wrong = {check["name"] for check in report["runs"][0]["checks"] if not check["passed"]}
    assert wrong == {"prompts in pieces of 7, then steps"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-old", "verses-old", "answers", "verses", "clothes"])
def test_every_release_from_the_first_on(verify, entries, name):
    """An entry runs on each release that its manifest promises."""
    frontend = {"clothes": "clothes_text"}.get(name, name)
    first = question_of(entries, frontend).about.first_release
    result, report = verify(name, *(row.first for row in RELEASES if row.first >= first))
    assert result.exit_code == 0, result.output
    assert len({run["release"] for run in report["runs"]}) == sum(row.first >= first for row in RELEASES)
