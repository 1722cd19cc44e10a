"""Graphs with their weights beside them, as those of more than 2 GB have, through the real server."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.serving import Server

from ..conftest import asset, export_asset

#: name -> family, task, precision, options of the export
ENTRIES = {
    "inside": ("bert", "text-classification", "fp16", {}),
    "behind": ("distilbert", "token-classification", "fp16", {"runner": "bls"}),
    "verses": ("gpt2", "text-generation", "fp32", {}),
    "verses8": ("gpt2", "text-generation", "int8", {}),
}
SMALL = 10_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A repository of such entries, whose source lies behind symlinks as in the hub's cache, and its server."""
    folder = tmp_path_factory.mktemp("external")
    for name, (family, task, precision, options) in ENTRIES.items():
        export_asset(folder / "repository", family, task, precision, name=name, largest_file=SMALL, **options)
    with Server(folder / "repository") as server:
        yield folder / "repository", server


@pytest.mark.parametrize("name", ENTRIES)
def test_a_graph_with_its_weights_beside_it_is_served_and_proved(served, name):
    """The folder that Triton reads holds real files, and the live endpoint gives PyTorch's answers."""
    repository, server = served
    model = f"{name}_model" if name == "behind" else name
    files = sorted((repository / model / "1" / "model.onnx").iterdir())
    assert [path.name for path in files] == ["model.onnx", "weights.data"]
    assert not any(path.is_symlink() for path in files)
    assert files[0].stat().st_size < 100_000 < files[1].stat().st_size
    result = CliRunner().invoke(main, ["validate", name, "--url", server.url, "--repository", str(repository)])
    assert result.exit_code == 0, result.output


def test_a_source_behind_symlinks(tmp_path):
    """As the hub's cache has it: the folder's files are links to blobs. What is written is files, not links."""
    source, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    source.mkdir(parents=True)
    blobs.mkdir()
    for index, path in enumerate(sorted(asset("bert", "text-classification").glob("*.json*"))):
        (blobs / str(index)).write_bytes(path.read_bytes())
        (source / path.name).symlink_to(f"../../blobs/{index}")
    weights = asset("bert", "text-classification") / "model.safetensors"
    (blobs / "weights").write_bytes(weights.read_bytes())
    (source / weights.name).symlink_to("../../blobs/weights")
    repository, report = tmp_path / "repository", tmp_path / "report.json"
    command = ["export", str(source), "--name", "linked", "--repository", str(repository), "--report", str(report)]
    result = CliRunner().invoke(main, [*command, "--largest-file", str(SMALL)])
    assert result.exit_code == 0, result.output
    assert not [path for path in repository.rglob("*") if path.is_symlink()]
    files = json.loads(report.read_text())["manifests"]["linked"]["files"]
    assert {"model.onnx/model.onnx", "model.onnx/weights.data"} <= set(files)
