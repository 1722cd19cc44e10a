"""Publishing in a folder: the same files, numbers that fit, and kills and errors at every step."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hf2triton.core.layout import BASELINE, CONFIG, FRONT, MANIFEST, versions
from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import RepositoryError, UsageError
from hf2triton.repository import disk, transaction
from hf2triton_client.evaluation.baseline import Baseline

from ...support import snapshot
from ..entries import SHAPES, export, frontends, run_killed, served_sizes


def publish(source, target, *names):
    """(state, version) of each entry."""
    return [(done.state, done.version) for done in publish_entries(source, target, names)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_copy_is_what_was_exported(sources, shape, tmp_path):
    """All files are the same, nothing else is there, and doing it again changes nothing."""
    source, _ = sources[shape]
    assert publish(source, tmp_path / "dest") == [("published", 1)]
    before = snapshot(tmp_path)
    assert before == {f"dest/{path}": digest for path, digest in snapshot(source).items()}
    assert publish(source, tmp_path / "dest") == [("unchanged", 1)]
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("shape", SHAPES)
def test_another_version_gets_a_free_number(sources, shape, tmp_path):
    """Where the number is taken by another version it becomes the next; what says the number is written anew."""
    one, other = sources[shape]
    publish(one, tmp_path)
    assert publish(other, tmp_path) == [("published", 2)]
    assert served_sizes(tmp_path) == dict.fromkeys(frontends(shape), (2, 16))
    for frontend in frontends(shape):
        folder = tmp_path / frontend / "2"
        manifest = json.loads((folder / MANIFEST).read_text())
        assert (manifest["version"], manifest["name"], manifest["entry"]) == (2, frontend, shape)
        assert Baseline.load(folder / BASELINE).about["version"] == 2
        if shape == "behind":
            runner = json.loads((folder / FRONT).read_text())["runner"]
            assert runner == {"model": "behind_model", "model_version": 2}
    assert publish(other, tmp_path) == [("unchanged", 2)]
    assert publish(one, tmp_path) == [("switched", 1)]
    assert served_sizes(tmp_path) == dict.fromkeys(frontends(shape), (1, 32))


def test_a_higher_number_is_kept(staged, tmp_path):
    """An entry keeps its number where that is higher than all that are there, so that both repositories name it alike."""
    for size in (8, 16, 32):
        export(staged, tmp_path / "source", "plain", size)
    assert publish(tmp_path / "source", tmp_path / "dest") == [("published", 3)]
    assert versions(tmp_path / "dest" / "plain") == [3]


def test_named_entries_alone_are_published(staged, tmp_path):
    """Names are of entries or of their frontends, which go together; unknown ones list the known."""
    for shape in SHAPES:
        export(staged, tmp_path / "source", shape)
    publish(tmp_path / "source", tmp_path / "dest", "pair_text", "plain")
    assert sorted(served_sizes(tmp_path / "dest")) == ["pair_image", "pair_text", "plain"]
    with pytest.raises(RepositoryError, match=r"no entry 'nothing'.*behind"):
        publish(tmp_path / "source", tmp_path / "dest", "nothing")
    with pytest.raises(UsageError, match="is the repository itself"):
        publish(tmp_path / "source", tmp_path / "source")


#: What is wrong with a config where it is served -> its content then, None where it is gone.
BROKEN = {
    "a field that nobody knows": lambda config: config + b"frobnicate: 3\n",
    "another batch size": lambda config: config.replace(b"max_batch_size: 32", b"max_batch_size: 31"),
    "a config that is none": lambda config: b"name = 3 {\n",
    "bytes that are no text": lambda config: b"\xff\xfe",
    "an empty config": lambda config: b"",
    "no config": lambda config: None,
}


def break_config(path, how):
    content = BROKEN[how](path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(("shape", "model"), [("plain", "plain"), ("behind", "behind_model"), ("pair", "pair_text")])
def test_a_config_that_was_changed_is_put_back(sources, shape, model, how, tmp_path):
    """A version that is there, and whose config at the destination is not what was proved, is switched to again."""
    source, _ = sources[shape]
    publish(source, tmp_path)
    break_config(tmp_path / model / CONFIG, how)
    assert publish(source, tmp_path) == [("switched", 1)]
    assert snapshot(tmp_path) == snapshot(source)
    assert publish(source, tmp_path) == [("unchanged", 1)]


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(("shape", "model"), [("behind", "behind"), ("behind", "behind_model"), ("pair", "pair_image")])
def test_a_failure_over_a_broken_config_leaves_the_old_version(sources, shape, model, how, tmp_path, monkeypatch):
    """Where the config of what is served cannot be read, an error puts back what the version keeps; no version is lost."""
    one, other = sources[shape]
    publish(one, tmp_path)
    break_config(tmp_path / model / CONFIG, how)
    carry_out = transaction.carry_out

    def failing(store, given):
        carry_out(store, given)
        raise RepositoryError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(transaction, "carry_out", failing)
        with pytest.raises(RepositoryError, match="the disk is full"):
            publish(other, tmp_path)
    found = snapshot(tmp_path)
    if how == "another batch size":  # it can be read: what was there is what is put back
        assert b"31" in (tmp_path / model / CONFIG).read_bytes()
        found.pop(f"{model}/{CONFIG}")
    assert found.items() <= snapshot(one).items()
    assert publish(other, tmp_path) == [("published", 2)]
    assert served_sizes(tmp_path) == dict.fromkeys(frontends(shape), (2, 16))


@pytest.mark.parametrize("file", [MANIFEST, BASELINE])
def test_what_is_shown_beside_the_config_is_put_back(sources, file, tmp_path):
    """The served version's manifest and baseline are shown again where they are gone."""
    source, _ = sources["plain"]
    publish(source, tmp_path)
    (tmp_path / "plain" / file).unlink()
    assert publish(source, tmp_path) == [("switched", 1)]
    assert snapshot(tmp_path) == snapshot(source)


@pytest.mark.parametrize("file", ["1/model.onnx", CONFIG, "1/tokenizer.json"])
def test_a_damaged_source_is_refused(sources, tmp_path, file):
    """What is not as it was exported is not published: the file is named."""
    shutil.copytree(sources["plain"][0], tmp_path / "source")
    with (tmp_path / "source" / "plain" / file).open("ab") as damaged:
        damaged.write(b"\n")
    with pytest.raises(RepositoryError, match=f"plain/{file} was changed"):
        publish(tmp_path / "source", tmp_path / "dest")
    assert not (tmp_path / "dest").exists()


def test_a_damaged_copy_is_not_served(sources, tmp_path, monkeypatch):
    """A copy that reads back as something else is refused, and what was served still is."""
    one, other = sources["plain"]
    publish(one, tmp_path / "dest")
    before = snapshot(tmp_path)

    def lossy(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:-1])

    monkeypatch.setattr(disk.shutil, "copyfile", lossy)
    with pytest.raises(RepositoryError, match="is not what its manifest says after it was copied"):
        publish(other, tmp_path / "dest")
    assert snapshot(tmp_path) == before


def test_publishers_exclude_each_other(staged, tmp_path):
    """Several at the same time publish one after the other, and all of their versions are whole."""
    sources = [tmp_path / f"source-{size}" for size in (4, 8, 16, 32)]
    for source in sources:
        export(staged, source, "behind", int(source.name.split("-")[1]))
    with ThreadPoolExecutor(4) as pool:
        done = [one for own in pool.map(lambda source: publish(source, tmp_path / "dest"), sources) for one in own]
    assert sorted(done) == [("published", version) for version in (1, 2, 3, 4)]
    [(version, size)] = served_sizes(tmp_path / "dest").values()
    assert version == 4
    assert done[[4, 8, 16, 32].index(size)] == ("published", 4)


@pytest.mark.parametrize(
    ("shape", "existing", "how"),
    [
        ("behind", True, "killed"),
        pytest.param("pair", True, "killed", marks=pytest.mark.slow),
        pytest.param("pair", False, "killed", marks=pytest.mark.slow),
        ("behind", True, "failed"),
    ],
)
def test_every_step_survives(sources, shape, existing, how, tmp_path):
    """Killed with SIGKILL, or failing for want of space, at each step in turn: each frontend serves a version that is whole, and
    publishing again completes it and leaves nothing else behind. After an error all is as it was."""
    one, other = sources[shape]
    if existing:
        publish(one, tmp_path / "dest")
    before = snapshot(tmp_path / "dest")
    seen = run_killed(how, "publish", other, tmp_path / "dest", tmp_path)
    assert len(seen) > 15
    new = dict.fromkeys(frontends(shape), [2, 16] if existing else [1, 16])
    old = {key: [1, 32] for key in frontends(shape)} if existing else {}
    for step in seen[:-1]:
        for frontend, served in step["served"].items():
            assert served in (old.get(frontend), new[frontend])
        assert how == "killed" or step["served"] == new or step["files"] == before, "an error leaves all as it was"
        assert step["again"] == new
        assert step["left"] == []
        assert step["files_again"] == seen[-1]["files"]
    assert any(step["served"] == old for step in seen)
    assert any(step["served"] == new for step in seen)
