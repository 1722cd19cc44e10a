"""Plans: what of a file is in the repository as declared, what is not, and why."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hf2triton.build import plan as build_plan
from hf2triton.build.build import build
from hf2triton.build.file import Declared
from hf2triton.build.plan import CHANGED, DAMAGED, IMPOSSIBLE, NEW, UNCHANGED, plan_build
from hf2triton.core.layout import MANIFEST
from hf2triton.core.options import ExportOptions
from hf2triton.core.packages import installed_versions
from hf2triton.engines.common.resolve import recorded_options
from hf2triton.errors import UsageError

from ...support import ASSETS

SOURCES = {"small": "distilbert-sentiment", "behind": "bert-sentiment", "pair": "clip-fashion"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A repository with an entry of one model, one whose graph is a model of its own, and one of two frontends; and its
    sources."""
    folder = tmp_path_factory.mktemp("built")
    for name, source in SOURCES.items():
        shutil.copytree(ASSETS / source, folder / "sources" / name)
    declared = declare(folder)
    assert all(built.error is None for built in build(plan_build(declared)))
    return folder


@pytest.fixture
def folder(built, tmp_path):
    """A copy, to be changed."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path


def declare(folder, **changes):
    """What was built, but for the options of entries that `changes` names."""
    repository = folder / "repository"
    entries = {name: ExportOptions(str(folder / "sources" / name), name, repository=repository) for name in SOURCES}
    entries["behind"] = replace(entries["behind"], runner="bls")
    entries |= {name: replace(entries[name], **options) for name, options in changes.items()}
    return Declared(Path("models.yaml"), repository, entries)


def states(declared):
    return {entry.name: (entry.state, entry.reasons) for entry in plan_build(declared).entries}


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_was_built_is_unchanged(built):
    """Also where the file says what was left open before."""
    plan = plan_build(declare(built))
    assert {entry.state for entry in plan.entries} == {UNCHANGED}
    assert not plan.differs
    assert plan.pending == 0
    said = declare(built, small={"task": "sentiment-analysis", "runner": "inprocess", "max_batch_size": 64})
    assert not plan_build(said).differs


def test_an_empty_repository_needs_everything(built):
    """All entries are new, and planning leaves nothing there."""
    declared = declare(built)
    elsewhere = {name: replace(one, repository=built / "empty") for name, one in declared.entries.items()}
    found = states(Declared(declared.path, built / "empty", elsewhere))
    assert set(found.values()) == {(NEW, ())}
    assert not (built / "empty").exists()


def test_a_config_alone_is_no_entry(folder):
    """As the project's repository commits them."""
    for path in (folder / "repository" / "small").iterdir():
        if path.name != "config.pbtxt":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert states(declare(folder))["small"] == (NEW, ())


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({"precision": "int8"}, ["precision fp16 → int8"]),
        ({"release": "24.10", "threads": 2}, ["release none → 24.10", "threads 0 → 2"]),
        ({"instances": 2, "max_batch_size": 8}, ["max batch size 64 → 8", "instances 1 → 2"]),
        ({"runner": "bls"}, ["runner inprocess → bls"]),
        ({"labels": ("a", "b", "c")}, ["labels changed"]),
        ({"tolerances": {"logits": {"max_abs": 0.1}}}, ["tolerances changed"]),
        ({"attention": "standard"}, ["attention fused → standard"]),
    ],
)
def test_other_options_are_a_change(built, options, reasons):
    """The reason names the option, and short values before and after."""
    found = states(declare(built, small=options))
    assert found.pop("small") == (CHANGED, tuple(reasons))
    assert {state for state, _ in found.values()} == {UNCHANGED}


def test_another_task_is_a_change(built):
    """With the frontends that it leaves behind, where it has others."""
    plan = plan_build(declare(built, small={"task": "feature-extraction"}))
    [small] = [entry for entry in plan.entries if entry.name == "small"]
    assert (small.state, small.reasons) == (CHANGED, ("task text-classification → feature-extraction",))


def test_another_source_is_a_change(folder):
    """Files that differ, are new or are gone are named."""
    source = folder / "sources" / "small"
    edit(source / "config.json", lambda config: config.update(dropout=0.2))
    (source / "vocab.txt").write_text("a")
    assert states(declare(folder))["small"] == (CHANGED, ("source: config.json differs", "source: vocab.txt is new"))


def test_where_the_source_lies_is_no_change(folder):
    """The same files elsewhere give the same entry."""
    moved = (folder / "sources" / "small").rename(folder / "moved")
    assert not plan_build(declare(folder, small={"source": str(moved)})).differs


def test_adapters_are_compared(folder):
    """One that was added, one that differs, and one that was removed."""
    adapter = str(ASSETS / "minilm-sentiment-lora")
    with_adapter = declare(folder, small={"adapter": adapter, "task": "text-classification"})
    assert states(with_adapter)["small"] == (CHANGED, ("adapter added",))
    manifest = folder / "repository" / "small" / "1" / MANIFEST
    edit(manifest, lambda one: one.update(adapter={"digests": {"adapter_config.json": "sha256:0"}}))
    assert "adapter: adapter_config.json differs" in states(with_adapter)["small"][1]
    assert "adapter: adapter_model.safetensors is new" in states(with_adapter)["small"][1]
    assert "adapter removed" in states(declare(folder))["small"][1]


def test_other_packages_are_a_change(built, monkeypatch):
    """A package with another version, or that was not there, may export something else."""
    other = {**installed_versions(), "torch": "2.99.0", "pillow": None}
    monkeypatch.setattr(build_plan, "installed_versions", lambda: other)
    before = installed_versions()
    reasons = (f"pillow {before['pillow']} → none", f"torch {before['torch']} → 2.99.0")
    assert set(states(declare(built)).values()) == {(CHANGED, reasons)}


@pytest.mark.parametrize(
    ("entry", "path", "spoil", "reason"),
    [
        ("small", "small/1/model.onnx", Path.unlink, "small/1/model.onnx is gone"),
        ("small", "small/1/front.json", lambda path: path.write_text("{}"), "small/1/front.json was changed"),
        ("small", "small/config.pbtxt", lambda path: path.open("a").write("\n"), "small/config.pbtxt was changed"),
        ("small", "small/manifest.json", Path.unlink, "small/manifest.json is not the served version's"),
        ("small", "small/warmup/0_text-*", Path.unlink, " is gone"),
        ("small", "small/warmup/1_text_pair-*", lambda path: path.write_bytes(b"\0" * 8), " was changed"),
        ("small", "small/1/manifest.json", Path.unlink, "small/1/manifest.json cannot be read"),
        ("small", "small/1/manifest.json", lambda path: path.write_text("{}"), "'version'"),
        ("behind", "behind_model/1/model.onnx", Path.unlink, "behind_model/1/model.onnx is gone"),
        ("behind", "behind_model/config.pbtxt", Path.unlink, "behind_model/config.pbtxt is gone"),
        ("pair", "pair_image", shutil.rmtree, "pair_image/config.pbtxt cannot be read"),
        (
            "pair",
            "pair_text/1/tokenizer.json",
            lambda path: path.write_text(""),
            "pair_text/1/tokenizer.json was changed",
        ),
    ],
)
def test_damage_is_found(folder, entry, path, spoil, reason):
    """A file that is gone, or is not what the manifest says, is named; it is enough that one frontend lacks it."""
    [spoiled] = (folder / "repository").glob(path)
    spoil(spoiled)
    found = states(declare(folder))
    state, reasons = found.pop(entry)
    assert state == DAMAGED
    assert any(reason in one for one in reasons)
    assert reason[0] != " " or any(str(spoiled.relative_to(folder / "repository")) in one for one in reasons)
    assert {state for state, _ in found.values()} == {UNCHANGED}


def test_entries_that_the_file_does_not_name(built):
    """They are told, and make the repository another one than the file declares."""
    declared = declare(built)
    without = {name: options for name, options in declared.entries.items() if name != "pair"}
    plan = plan_build(replace(declared, entries=without))
    assert plan.unlisted == ("pair_image", "pair_text")
    assert (plan.pending, plan.differs) == (0, True)
    assert plan.counts == {"unchanged": 2, "not in the file": 2}


def test_a_source_that_cannot_be_used_is_the_entrys_own_trouble(built):
    """The others are planned, and what the repository has of it is not called unlisted."""
    plan = plan_build(declare(built, pair={"source": "./gone"}, small={"source": "package:no_such_weights/model"}))
    small, _, pair = plan.entries
    assert (small.state, pair.state) == (IMPOSSIBLE, IMPOSSIBLE)
    assert pair.reasons == ("there is no folder ./gone",)
    assert "no Python package 'no_such_weights' here; install it (pip install no-such-weights)" in small.reasons[0]
    assert plan.unlisted == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"small": {"task": "text-generation"}}, "small: distilbert models do not serve text-generation"),
        (
            {"behind": {"device": "cuda", "runner": "inprocess"}},
            "behind: text-classification with --device cuda runs with",
        ),
        (
            {"small": {"tolerances": {"logit": {}}}},
            "small: tolerances: the output of text-classification 'logit' is unknown",
        ),
        ({"small": {"tolerances": {"logits": {"max": 1}}}}, "known are max_abs, mean_abs, cosine, argmax"),
        ({"small": {"tolerances": {"logits": {"max_abs": None}}}}, "max_abs must be a number of 0 or more, not None"),
        ({"small": {"instances": 0}}, "is served with 1 to 128, not with 0 instances"),
        ({"small": {"precision_plan": Path("gone.json")}}, "small: the precision plan gone.json cannot be read"),
        ({"small": {"calibration": Path("gone.txt")}}, "small: there is no calibration file or folder gone.txt"),
    ],
)
def test_what_the_file_cannot_mean_is_refused(built, changes, message):
    """Wrong usage of one entry stops the whole, with its name, before anything is built."""
    with pytest.raises(UsageError) as error:
        plan_build(declare(built, **changes))
    assert message in str(error.value)


def test_two_entries_of_one_frontend(built):
    """Where an entry is called as another one's frontend, one of them must be renamed."""
    declared = declare(built)
    clash = replace(declared.entries["small"], name="pair_text")
    with pytest.raises(UsageError, match="pair and pair_text would both be served as pair_text"):
        plan_build(replace(declared, entries={**declared.entries, "pair_text": clash}))


def test_files_count_by_their_content(built, tmp_path):
    """Calibration by its bytes; a precision plan without the manifest around it, which changes with each export."""
    texts, plan = tmp_path / "texts.txt", tmp_path / "plan.json"
    texts.write_text("one\n")
    shutil.copy(built / "repository" / "small" / MANIFEST, plan)
    options = ExportOptions("x", "x", calibration=texts, precision_plan=plan)
    first = recorded_options(options)
    edit(plan, lambda manifest: manifest.update(exported_at="later"))
    assert recorded_options(options) == first
    edit(plan, lambda manifest: manifest["precision_plan"].update(nodes=1))
    assert recorded_options(options)["precision_plan"] != first["precision_plan"]
    texts.write_text("two\n")
    assert recorded_options(options)["calibration"] != first["calibration"]
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(texts, folder)
    one = recorded_options(replace(options, calibration=folder))
    (folder / "more.txt").write_text("")
    assert recorded_options(replace(options, calibration=folder))["calibration"] != one["calibration"]


def test_the_hubs_commit_is_compared(built, tmp_path, monkeypatch):
    """Of what the hub has, weights are not fetched to plan: its commit says it all."""

    def cache(commit):
        root = tmp_path / "hub" / "models--org--sentiment"
        (root / "refs").mkdir(parents=True, exist_ok=True)
        (root / "refs" / "main").write_text(commit)
        (root / "snapshots" / commit).mkdir(parents=True)
        shutil.copy(ASSETS / "distilbert-sentiment" / "config.json", root / "snapshots" / commit)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(built / "repository", tmp_path / "repository")
    cache("a" * 40)
    for path in (tmp_path / "repository" / "small" / MANIFEST, tmp_path / "repository" / "small" / "1" / MANIFEST):
        path.unlink()
        shutil.copy(built / "repository" / "small" / MANIFEST, path)
        edit(path, lambda manifest: manifest["source"].update(revision="a" * 40))
    shutil.copytree(built / "sources", tmp_path / "sources")
    declared = declare(tmp_path, small={"source": "org/sentiment"})
    assert states(declared)["small"] == (UNCHANGED, ())
    cache("b" * 40)
    assert states(declared)["small"] == (CHANGED, (f"source: commit {'a' * 40} → {'b' * 40}",))


def test_planning_needs_no_pytorch(built):
    """It answers without the seconds that its import takes, also with an adapter."""
    adapter = ASSETS / "minilm-sentiment-lora"
    code = f"""
import sys
from pathlib import Path
from hf2triton.core.options import ExportOptions
from hf2triton.build.file import Declared
from hf2triton.build.plan import plan_build
folder = Path({str(built)!r})
one = ExportOptions(str(folder / "sources/small"), "small", repository=folder / "repository")
other = ExportOptions(str(folder / "sources/behind"), "behind", adapter={str(adapter)!r}, repository=folder / "repository")
plan = plan_build(Declared(Path("x"), folder / "repository", {{"small": one, "behind": other}}))
print(*[entry.state for entry in plan.entries])
sys.exit(bool({{"torch", "transformers", "onnx_ir", "onnxruntime", "peft"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout.split()) == (0, [UNCHANGED, CHANGED]), result.stderr
