"""manifest.json and front.json: read as they are, written as they were, and refused where they are damaged or too new."""

import json
from dataclasses import fields, replace

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.core.frontend_settings import (
    DecoderSettings,
    EncoderSettings,
    GraphFile,
    GraphModel,
    read_decoder_settings,
    read_encoder_settings,
    read_settings,
    settings_bytes,
)
from hf2triton.core.json_files import json_bytes
from hf2triton.core.layout import FRONT, MANIFEST
from hf2triton.core.manifest import GpuMemory, Manifest, parse_manifest, read_manifest, served_manifest
from hf2triton.errors import NewerFormat, RepositoryError
from hf2triton.lint import lint

#: What exports of the first days wrote: neither who owns the frontend nor what was asked, nor a digest of the graph's config.
OLD = {
    "format": 1,
    "name": "old",
    "version": 3,
    "exported_at": "2026-11-23T05:00:00+00:00",
    "task": "text-classification",
    "family": "bert",
    "source": {"given": "org/model", "revision": None, "digests": {"model.safetensors": "sha256:0"}},
    "graph": {
        "precision": "fp16",
        "full_precision_nodes": ["/é"],
        "attention": "fused",
        "opset": {"": 20},
        "ir_version": 10,
        "release": None,
    },
    "serving": {"device": "cpu", "runner": "bls", "max_batch_size": 64, "call_price_tokens": 12},
    "preprocessing": "sha256:1",
    "parity": {
        "passed": True,
        "weight_bytes": 8,
        "fp32_weight_bytes": 16,
        "checks": [{"max_abs": 0.25}, {"max_abs": 0}],
    },
    "packages": {"torch": "2.13", "peft": None},
    "files": {"config.pbtxt": "sha256:2"},
    "later": {"of": ["nobody's", "business"]},
}


def damaged(content, path, value):
    """A copy with another value at a path; None removes the key."""
    content = json.loads(json.dumps(content))
    *parents, last = path
    where = content
    for key in parents:
        where = where[key]
    if value is None:
        del where[last]
    else:
        where[last] = value
    return content


@pytest.mark.parametrize("name", ["plain", "gpu", "trt", "verses"])
def test_what_is_read_and_written_again_is_the_same(assorted, name):
    """Byte for byte, of each kind of entry; a manifest made in memory has the order of the one that was written."""
    folder = assorted / name / "1"
    manifest = read_manifest(folder / MANIFEST)
    assert manifest.to_bytes() == (folder / MANIFEST).read_bytes()
    assert settings_bytes(read_settings(folder)) == (folder / FRONT).read_bytes()
    assert list(manifest.to_json()) == [field.name for field in fields(Manifest) if field.name != "_read"]
    assert served_manifest(assorted, name) == manifest


def test_an_old_manifest_is_read_and_stays_as_it_is():
    """What it lacks has defaults, which are not written; keys that nobody knows stay in their place."""
    content = json_bytes(OLD)
    manifest = parse_manifest(content, "old")
    assert (manifest.owner, manifest.adapter, manifest.options, manifest.gpus) == ("old", None, None, ())
    assert (manifest.graph.first_release, manifest.serving.memory, manifest.serving.graph_config) == ("", None, None)
    assert manifest.has_graph_model
    assert manifest.parity.max_abs == 0.25
    assert manifest.to_bytes() == content
    with pytest.raises(RepositoryError, match="'old' has no precision plan"):
        _ = manifest.plan


def test_what_is_changed_is_all_that_changes():
    """The other keys stay where they are, and a new one comes last."""
    manifest = parse_manifest(json_bytes(OLD), "old")
    memory = GpuMemory(gpu=9, context=1, total=5)
    changed = replace(manifest, version=4, serving=replace(manifest.serving, call_price_tokens=7, memory=memory))
    expected = {**OLD, "version": 4, "serving": {**OLD["serving"], "call_price_tokens": 7, "memory": memory.to_json()}}
    assert changed.to_bytes() == json_bytes(expected)
    assert parse_manifest(changed.to_bytes(), "old") == changed
    assert memory.own == 4


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["version"], None, "it has no 'version'"),
        (["version"], "3", "version is '3'"),
        (["version"], True, "version is True"),
        (["source"], [], r"source: \[\] is not a JSON object"),
        (["source", "revision"], 3, "source: revision is 3"),
        (["serving", "max_batch_size"], None, "serving: it has no 'max_batch_size'"),
        (["files"], {"model.py": 3}, "files is 3"),
        (["parity", "checks"], "none", "parity: checks is 'none'"),
        (["packages"], {"torch": 2}, "packages is 2"),
    ],
)
def test_a_damaged_manifest_names_the_file_and_the_key(path, value, says):
    """A key that is missing, or holds something else than it should, is said with where that is."""
    with pytest.raises(RepositoryError, match=f"models/old/3/manifest.json cannot be read: {says}"):
        parse_manifest(json_bytes(damaged(OLD, path, value)), "models/old/3/manifest.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff"])
def test_what_is_no_manifest_names_the_file(content, tmp_path):
    """Whatever the file holds, and where there is none."""
    path = tmp_path / MANIFEST
    path.write_bytes(content)
    with pytest.raises(RepositoryError, match=f"{path} cannot be read: "):
        read_manifest(path)
    with pytest.raises(RepositoryError, match=f"{tmp_path / 'gone'} cannot be read: "):
        read_manifest(tmp_path / "gone")


def test_a_later_format_is_refused(assorted, tmp_path):
    """Whatever else it holds: the error says to upgrade, also on the command line."""
    path = tmp_path / "new" / "1" / MANIFEST
    path.parent.mkdir(parents=True)
    path.write_bytes(json_bytes({"format": 2, "name": ["other"]}))
    (tmp_path / "new" / "config.pbtxt").write_text("version_policy { specific { versions: 1 } }")
    for read in (lambda: read_manifest(path), lambda: served_manifest(tmp_path, "new"), lambda: lint(tmp_path)):
        with pytest.raises(
            NewerFormat, match=f"{path} has format 2, .* reads format 1: .*pip install --upgrade hf2triton"
        ):
            read()
    for command in ("list", "lint"):
        arguments = [command, "--repository", str(tmp_path)] if command == "list" else [command, str(tmp_path)]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert "pip install --upgrade hf2triton" in result.output


def test_settings_are_those_of_their_kind(assorted):
    """A frontend that answers at once says what runs its graph; one that generates what its texts may be."""
    plain, behind = (read_encoder_settings(assorted / name / "1") for name in ("plain", "gpu"))
    assert isinstance(plain, EncoderSettings)
    assert plain.runner == GraphFile(graph="model.onnx")
    assert behind.runner == GraphModel(model="gpu_model", model_version=1)
    verses = read_decoder_settings(assorted / "verses" / "1")
    assert isinstance(verses, DecoderSettings)
    assert verses.context > 0
    with pytest.raises(RepositoryError, match=r"front.json is that of a frontend that generates"):
        read_encoder_settings(assorted / "verses" / "1")
    with pytest.raises(RepositoryError, match=r"front.json is that of a frontend that does not generate"):
        read_decoder_settings(assorted / "plain" / "1")


@pytest.mark.parametrize("content", ["", "{}", '{"generation": {}}', '{"generation": []}', "[]"])
def test_damaged_settings_name_the_file(content, tmp_path):
    """Whatever the file holds."""
    (tmp_path / FRONT).write_text(content)
    with pytest.raises(RepositoryError, match=f"{tmp_path / FRONT} cannot be read: "):
        read_settings(tmp_path)


def test_old_settings_are_read(tmp_path):
    """Of frontends that did not know what later ones do."""
    old = {"graph": "model.onnx", "context": 256, "generation": {"eos_token_id": 3}}
    (tmp_path / FRONT).write_bytes(json_bytes(old))
    settings = read_decoder_settings(tmp_path)
    assert (settings.clean_up, settings.in_place, settings.max_bytes) == (False, False, 0)
    assert settings_bytes(settings) == json_bytes(old)
