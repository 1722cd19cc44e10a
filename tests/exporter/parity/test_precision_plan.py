"""A precision plan from the command line's side: found, shown, kept, given back, refused, and searched for where parity fails."""

import json
import shutil

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from hf2triton.cli import main
from hf2triton.core.precision_plan import Fp32Node, PrecisionPlan, plan_from, read_plan
from hf2triton.errors import UsageError
from hf2triton.parity import precision_search
from hf2triton.parity.precision_search import FOUND

from ...support import ASSETS

DENSE = "bert.encoder.layer.0.output.dense"
#: What a dense layer whose products overflow brings with it.
OVERFLOWING = [
    f"{DENSE}/MatMul",
    f"{DENSE}/Add",
    "bert.encoder.layer.0.output/Add",
    "bert.encoder.layer.0.output.LayerNorm/LayerNormalization",
]


def edited(folder, edit, name="bert-sentiment"):
    """A copy of a trained checkpoint with edited weights."""
    shutil.copytree(ASSETS / name, folder)
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def export(source, repository, *options, report=None):
    command = ["export", str(source), "--name", "m", "--repository", str(repository), *map(str, options)]
    return CliRunner().invoke(main, [*command, "--report", str(report)] if report else command)


def overflow(weights):
    weights[f"{DENSE}.weight"] *= 1e6


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint that overflows, its entry, and what the command printed: twice, as versions 1 and 2."""
    folder = tmp_path_factory.mktemp("exported")
    source = edited(folder / "checkpoint", overflow)
    results = [export(source, folder / "repository", report=folder / f"report{number}.json") for number in (1, 2)]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    return folder, source, results[0].stdout


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_few_nodes_stay_fp32(exported):
    """The overflowing product, what is added to it and what reads it, each with its reason and its bytes, in the report and in
    the manifest."""
    folder, *_ = exported
    plan = read(folder / "report1.json")["precision_plans"]["m"]
    assert [fp32_node["node"] for fp32_node in plan["islands"]] == OVERFLOWING
    assert all("overflows: it reaches " in fp32_node["reason"] for fp32_node in plan["islands"])
    assert [fp32_node["extra_bytes"] for fp32_node in plan["islands"]] == [64 * 128 * 2, 64 * 2, 0, 64 * 2 * 2]
    assert plan["extra_bytes"] == sum(fp32_node["extra_bytes"] for fp32_node in plan["islands"])
    assert (plan["precision"], plan["origin"], plan["warnings"]) == ("fp16", "calibrated", [])
    assert plan["calibration"] == "30 texts that come with hf2triton"
    assert len(plan["islands"]) < plan["nodes"] / 10
    assert read(folder / "repository" / "m" / "1" / "manifest.json")["precision_plan"] == plan


def test_two_exports_are_the_same(exported):
    """The same checkpoint gives the same plan and the same bytes."""
    folder, *_ = exported
    first, second = (folder / "repository" / "m" / version for version in "12")
    assert (first / "model.onnx").read_bytes() == (second / "model.onnx").read_bytes()
    assert read(first / "manifest.json")["precision_plan"] == read(second / "manifest.json")["precision_plan"]
    assert read(folder / "report1.json")["precision_plans"] == read(folder / "report2.json")["precision_plans"]


def words_of(line):
    return [word for word in line.split("  ") if word]


def test_the_terminal_shows_what_matters(exported):
    """One row with the precision, the fp32 nodes, the largest difference, the agreement and both sizes; then the fp32 nodes."""
    folder, _, printed = exported
    report = read(folder / "report1.json")
    parity, plan = report["parity"]["m"], report["precision_plans"]["m"]
    lines = printed.splitlines()
    assert "bert text-classification, compared with PyTorch in fp32" in lines
    header, row = lines[2:4]
    assert [word.strip() for word in words_of(header)] == [
        "frontend",
        "precision",
        "fp32 nodes",
        "largest difference",
        "agreement",
        "MB in fp32",
        "MB",
    ]
    largest = max(check["max_abs"] for check in parity["checks"])
    sizes = [f"{parity[name] / 1e6:.1f}" for name in ("fp32_weight_bytes", "weight_bytes")]
    assert [word.strip() for word in words_of(row)] == ["m", "fp16", "4 of 46", f"{largest:.2g}", "100.0%", *sizes]
    assert (
        f"m: 4 of 46 nodes stay fp32, {plan['extra_bytes']:,} bytes more;"
        " calibrated with 30 texts that come with hf2triton" in lines
    )
    for fp32_node in plan["islands"]:
        [line] = [line for line in lines if line.startswith(f"{fp32_node['node']} ")]
        assert fp32_node["reason"] in line
        assert line.endswith(f"  {fp32_node['extra_bytes']}")


def test_inspect_shows_the_plan(exported):
    """`inspect NAME --precision` prints each node with its reason and its bytes, and no manifest."""
    folder, *_ = exported
    result = CliRunner().invoke(main, ["inspect", "m", "--precision", "--repository", str(folder / "repository")])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    for fp32_node in read(folder / "report1.json")["precision_plans"]["m"]["islands"]:
        [line] = [line for line in lines if line.startswith(f"{fp32_node['node']} ")]
        assert words_of(line)[1].strip() == fp32_node["reason"]
        assert words_of(line)[-1].strip() == str(fp32_node["extra_bytes"])
    assert "preprocessing" not in result.stdout
    assert len(lines) == 3 + len(OVERFLOWING)


@pytest.mark.parametrize("form", ["manifest", "report", "plan"])
def test_a_plan_that_is_given_back(exported, tmp_path, monkeypatch, form):
    """From a manifest, a report or a file of its own the same graph comes, byte for byte, and nothing is calibrated."""
    folder, source, _ = exported
    plan = read(folder / "report1.json")["precision_plans"]["m"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    given = {
        "manifest": folder / "repository" / "m" / "manifest.json",
        "report": folder / "report1.json",
        "plan": tmp_path / "plan.json",
    }[form]

    def measured(*_):
        raise AssertionError("ranges were measured")

    monkeypatch.setattr(precision_search, "measure_ranges", measured)
    result = export(source, tmp_path / "repository", "--precision-plan", given, report=tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    graph = tmp_path / "repository" / "m" / "1" / "model.onnx"
    assert graph.read_bytes() == (folder / "repository" / "m" / "1" / "model.onnx").read_bytes()
    again = read(tmp_path / "report.json")["precision_plans"]["m"]
    assert again["origin"] == "given"
    assert (again["islands"], again["nodes"]) == (plan["islands"], plan["nodes"])
    assert "as the given plan says" in result.stdout


def test_the_whole_graph_can_be_kept(exported, tmp_path):
    """A plan of the user's own, with any reasons: its nodes are what stays fp32."""
    _, source, _ = exported
    fp32_nodes = tuple(Fp32Node(node, "?", "I say so", 0) for node in [*OVERFLOWING, "classifier/Gemm"])
    (tmp_path / "plan.json").write_text(json.dumps(PrecisionPlan("fp16", fp32_nodes).to_json()))
    options = ("--precision-plan", tmp_path / "plan.json", "--dry-run")
    result = export(source, tmp_path / "repository", *options, report=tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    plan = read(tmp_path / "report.json")["precision_plans"]["m"]
    assert [fp32_node["node"] for fp32_node in plan["islands"]] == [*OVERFLOWING, "classifier/Gemm"]
    assert {fp32_node["reason"] for fp32_node in plan["islands"]} == {"I say so"}
    assert plan["islands"][-1] == {
        "node": "classifier/Gemm",
        "op_type": "Gemm",
        "reason": "I say so",
        "extra_bytes": (64 * 3 + 3) * 2,
    }


def plan_json(precision="fp16", **changes):
    return PrecisionPlan(precision).to_json() | changes


ISLAND = {"node": "a", "op_type": "Add", "reason": "", "extra_bytes": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"{", "cannot be read", id="no JSON"),
        pytest.param(b"\xff\xfe", "cannot be read", id="not UTF-8"),
        pytest.param([], "holds no precision plan", id="a list"),
        pytest.param({"parity": {"passed": False}, "error": "…"}, "holds no precision plan", id="a failure's report"),
        pytest.param(plan_json(format=99), "it has format 99; this version reads format 1", id="another format"),
        pytest.param(plan_json("int8"), "is for int8, and the export is in fp16", id="another precision"),
        pytest.param(
            {"precision_plans": {"m_text": plan_json(), "m_image": plan_json()}},
            "holds several plans, one for each frontend: give the frontend's own manifest",
            id="two fronts",
        ),
        pytest.param({"precision_plans": {}}, "holds no precision plan", id="no fronts"),
        pytest.param({"precision_plans": [plan_json()]}, "precision plan", id="plans in a list"),
        pytest.param({"precision_plan": "fp16"}, "is not one of ours", id="no plan but a word"),
        pytest.param({"islands": []}, "is not one of ours", id="islands alone"),
        pytest.param(plan_json(islands=[{"node": "a"}]), "is not one of ours", id="half an island"),
        pytest.param(plan_json(islands=[ISLAND | {"more": 1}]), "is not one of ours", id="more than an island"),
        pytest.param(plan_json(islands=None), "is not one of ours", id="no islands"),
        pytest.param(plan_json(islands=[ISLAND | {"node": ["a"]}]), "is not one of ours", id="a node that is a list"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path, content, message):
    """Before anything is loaded: exit code 2, one line with the file and what is wrong with it."""
    path = tmp_path / "plan.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    result = export(ASSETS / "bert-sentiment", tmp_path / "repository", "--precision-plan", path)
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    assert message in last
    assert str(path) in last
    assert "load the checkpoint" not in result.stderr
    assert not (tmp_path / "repository").exists()


def test_a_plan_that_is_not_there(tmp_path):
    """The path is named."""
    result = export(ASSETS / "bert-sentiment", tmp_path, "--precision-plan", tmp_path / "nowhere.json")
    assert result.exit_code == 2
    assert f"the precision plan {tmp_path / 'nowhere.json'} cannot be read" in result.stderr


def test_another_checkpoints_plan_is_refused(exported, tmp_path):
    """Nodes that the graph does not have: exit code 2, and nothing is written."""
    folder, *_ = exported
    options = ("--precision-plan", folder / "repository" / "m" / "manifest.json")
    result = export(ASSETS / "distilbert-sentiment", tmp_path / "repository", *options)
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    assert "the precision plan names 4 nodes that the graph does not have, such as bert.encoder.layer.0." in last
    assert "it was made for another checkpoint, task or attention" in last
    assert not list((tmp_path / "repository").rglob("*.onnx"))


def test_reading_gives_what_was_written(tmp_path):
    """Whatever its origin was, a plan that is read is a given one; all else is kept."""
    plan = PrecisionPlan(
        "int8", (Fp32Node("a", "Add", "for fun", 12),), 7, "searched", "3 texts of a.txt", ("careful",)
    )
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    again = read_plan(tmp_path / "plan.json", "int8")
    assert (again.fp32_nodes, again.nodes, again.calibration, again.warnings) == (
        plan.fp32_nodes,
        7,
        "3 texts of a.txt",
        ("careful",),
    )
    assert again.origin == "given"
    assert plan_from(plan.to_json()) == plan
    with pytest.raises(UsageError, match="is for int8"):
        read_plan(tmp_path / "plan.json", "fp16")


def overflow_late(weights):
    """Positions from 50 on, which only long texts reach, are embedded beyond fp16."""
    weights["bert.embeddings.position_embeddings.weight"][50:, ::2] = 1e6


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A checkpoint that only long texts break, exported with a calibration of short ones."""
    folder = tmp_path_factory.mktemp("searched")
    source = edited(folder / "checkpoint", overflow_late)
    (folder / "short.txt").write_text("Yes.\nIt is a chair.\n")
    options = ("--calibration", folder / "short.txt", "--dry-run")
    result = export(source, folder / "repository", *options, report=folder / "report.json")
    assert result.exit_code == 0, result.output
    return source, read(folder / "report.json"), result


def test_a_search_finds_what_calibration_missed(searched):
    """Parity fails at first; then the plan says that it was searched, each further fp32 node says so too, and parity passes."""
    _, report, result = searched
    plan = report["precision_plans"]["m"]
    assert plan["origin"] == "searched"
    assert plan["calibration"] == "2 texts of short.txt"
    assert report["parity"]["m"]["passed"]
    reasons = {fp32_node["node"]: fp32_node["reason"] for fp32_node in plan["islands"]}
    found = [node for node, reason in reasons.items() if reason == FOUND]
    assert found
    assert all(node.startswith("bert.embeddings") for node in found)
    assert len(reasons) < plan["nodes"] / 10
    assert "calibrated with 2 texts of short.txt, then searched, since parity failed" in result.stdout
    stages = list(report["seconds"])
    assert stages.index("measure parity") < stages.index("search for what must stay fp32")
    assert stages.index("search for what must stay fp32") < stages.index("measure parity again")


def test_none_of_what_was_found_can_be_spared(searched, tmp_path):
    """Without any one of the fp32 nodes that the search found parity fails."""
    source, report, _ = searched
    plan = report["precision_plans"]["m"]
    for spared in [fp32_node for fp32_node in plan["islands"] if fp32_node["reason"] == FOUND]:
        fewer = plan | {"islands": [fp32_node for fp32_node in plan["islands"] if fp32_node is not spared]}
        (tmp_path / "plan.json").write_text(json.dumps(fewer))
        result = export(source, tmp_path / "repository", "--precision-plan", tmp_path / "plan.json", "--dry-run")
        assert result.exit_code == 3, spared
        assert "the exported model is not the trained one" in result.stderr


@pytest.mark.slow
def test_a_given_plan_is_not_searched(searched, tmp_path):
    """Where the user's plan fails parity the export fails: it is theirs to say what stays."""
    source, *_ = searched
    (tmp_path / "plan.json").write_text(json.dumps(PrecisionPlan("fp16").to_json()))
    result = export(source, tmp_path / "repository", "--precision-plan", tmp_path / "plan.json")
    assert result.exit_code == 3
    assert "search for" not in result.stderr
    assert not list((tmp_path / "repository").rglob("*.onnx"))


@pytest.mark.slow
def test_a_search_that_finds_nothing(tmp_path):
    """Where no fp32 nodes help, since fp32 itself is not exact enough, parity's own failure is what the user sees: exit code
    3."""

    def huge(weights):
        weights["classifier.weight"] *= 1e8

    source = edited(tmp_path / "checkpoint", huge)
    result = export(source, tmp_path / "repository", report=tmp_path / "report.json")
    assert result.exit_code == 3
    assert "search for what must stay fp32" in result.stderr
    assert "require parity: the exported model is not the trained one: " in result.stderr
    assert read(tmp_path / "report.json")["parity"]["passed"] is False
    assert not list((tmp_path / "repository").rglob("*.onnx"))
