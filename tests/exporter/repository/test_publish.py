"""What an export writes: versions that appear as a whole, and crashes at every step."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from hf2triton.core.layout import LINKED, MANIFEST, entries, served_version, versions
from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import RepositoryError
from hf2triton.repository.add_entry import publish

from ...support import snapshot
from ..entries import frontends, run_killed

#: Every call of publishing that changes a directory.
STEPS = ("rename", "replace", "link", "mkdir", "unlink", "rmdir")


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "models" / "model_repository"


@pytest.fixture(autouse=True)
def _without_fsync(monkeypatch):
    """It takes the most time, and only a power cut loses what was written."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.mark.parametrize("runner", ["inprocess", "bls"])
def test_versions_count_up(staged, repository, runner):
    """A second export of a name becomes version 2 and is served; version 1 stays for rolling back."""
    for expected in (1, 2, 3):
        entry = publish([staged(repository, runner)])
        assert (entry.version, entry.manifests["model"].version) == (expected, expected)
        assert served_version(repository, "model") == expected
    assert versions(repository / "model") == [1, 2, 3]
    if runner == "bls":
        assert versions(repository / "model_model") == [2, 3]
    assert entries(repository) == ["model"]


def test_frontends_of_one_entry_appear_together(staged, repository, tmp_path):
    """Where a task has several frontends, all get the same version, also after an error in the middle of publishing."""

    def pair():
        return staged.pair(repository)

    publish(pair())
    first = shutil.copytree(repository, tmp_path / "first")
    before = snapshot(repository)
    with pytest.MonkeyPatch.context() as patch:
        steps = calls_of(patch, 0, None)
        publish(pair())
        total = steps()
    for step in range(1, total + 1):
        shutil.rmtree(repository)
        shutil.copytree(first, repository)
        with pytest.MonkeyPatch.context() as patch:
            calls_of(patch, step, OSError(errno.ENOSPC, "No space left on device"))
            with suppress(RepositoryError):
                publish(pair())
        served = {served_version(repository, name) for name in ("model_text", "model_image")}
        assert len(served) == 1
        assert served == {2} or snapshot(repository) == before


def test_the_served_version_shows_beside_the_config(staged, repository):
    """manifest.json and the baseline beside config.pbtxt are the served version's."""
    publish([staged(repository)])
    publish([staged(repository)])
    for name in LINKED:
        assert (repository / "model" / name).read_bytes() == (repository / "model" / "2" / name).read_bytes()
    assert json.loads((repository / "model" / MANIFEST).read_text())["version"] == 2


def test_the_manifest_tells_what_was_done(staged, repository):
    """It names the source with its digests, the packages, the parity and the digest of each file."""
    import hashlib

    publish([staged(repository)])
    folder = repository / "model" / "1"
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["source"]["digests"]["model.safetensors"].startswith("sha256:")
    assert manifest["parity"]["passed"] is True
    assert manifest["packages"]["torch"]
    assert manifest["entry"] == "model"
    assert manifest["options"].items() >= {"precision": "fp16", "instances": 1, "labels": None}.items()
    for name, digest in manifest["files"].items():
        assert digest == f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"
    assert set(manifest["files"]) | {MANIFEST} == {path.name for path in folder.iterdir()}


def test_nothing_is_left_beside_the_repository(staged, repository):
    """The staging folder goes, also those of publishers that were killed."""
    left = repository.parent / f".{repository.name}.staging-old"
    left.mkdir(parents=True)
    publish([staged(repository)])
    assert [path.name for path in repository.parent.iterdir()] == [repository.name]


def calls_of(monkeypatch, fail_at, error):
    """Counts the steps, and raises at one of them."""
    count = 0

    def wrap(original):
        def step(*arguments, **options):
            nonlocal count
            count += 1
            if count == fail_at:
                raise error
            return original(*arguments, **options)

        return step

    for name in STEPS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: count


@pytest.mark.parametrize("runner", ["inprocess", "bls"])
@pytest.mark.parametrize("existing", [False, True])
def test_an_error_at_any_step_changes_nothing_before_it_is_served(staged, repository, runner, existing, tmp_path):
    """Whatever step fails, the repository is as it was, or the new version is complete and served."""
    first = tmp_path / "first"
    if existing:
        publish([staged(repository, runner)])
        shutil.copytree(repository, first)
    before = snapshot(repository)
    with pytest.MonkeyPatch.context() as patch:
        steps = calls_of(patch, 0, None)
        publish([staged(repository, runner)])
        total = steps()
    assert total > 5
    for step in range(1, total + 1):
        shutil.rmtree(repository, ignore_errors=True)
        if existing:
            shutil.copytree(first, repository)
        with pytest.MonkeyPatch.context() as patch:
            calls_of(patch, step, OSError(errno.ENOSPC, "No space left on device"))
            failure = attempt(staged(repository, runner))
        assert failure is None or "the disk is full" in failure
        if snapshot(repository) != before:
            assert served_version(repository, "model") == 1 + existing
            assert_complete(repository, 1 + existing)


def attempt(staged):
    """Publishes; gives what it failed with."""
    try:
        publish([staged])
    except RepositoryError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("shape", "existing", "how"),
    [
        ("behind", True, "killed"),
        pytest.param("pair", True, "killed", marks=pytest.mark.slow),
        pytest.param("plain", False, "killed", marks=pytest.mark.slow),
        pytest.param("behind", True, "failed", marks=pytest.mark.slow),
        ("pair", False, "failed"),
    ],
)
def test_every_step_survives(sources, shape, existing, how, tmp_path):
    """Killed with SIGKILL, or failing for want of space, at each step in turn: each frontend serves a version that is whole, and
    exporting again is served and leaves nothing else behind. After an error all is as it was."""
    one, other = sources[shape]
    if existing:
        list(publish_entries(one, tmp_path / "dest"))
    before = snapshot(tmp_path / "dest")
    seen = run_killed(how, "export", other, tmp_path / "dest", tmp_path)
    assert len(seen) > 10
    new = {key: [1 + existing, 16] for key in frontends(shape)}
    next_one = {
        key: [2 + existing, 16] for key in frontends(shape)
    }  # where the next export completed the one that was killed
    old = {key: [1, 32] for key in frontends(shape)} if existing else {}
    for step in seen[:-1]:
        for frontend, served in step["served"].items():
            assert served in (old.get(frontend), new[frontend])
        assert how == "killed" or step["served"] == new or step["files"] == before, "an error leaves all as it was"
        assert step["again"] in (new, next_one)
        assert step["left"] == []
    assert any(step["served"] == old for step in seen)
    assert any(step["served"] == new for step in seen)


def assert_complete(repository, version):
    folder = repository / "model" / str(version)
    assert {name for name in LINKED if (folder / name).is_file()} == set(LINKED)


def test_publishers_exclude_each_other(staged, repository):
    """Two publishers of one name at the same time get two versions."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: publish([staged(repository)]), range(4)))
    assert sorted(entry.version for entry in results) == [1, 2, 3, 4]
    assert served_version(repository, "model") == 4


def test_publishing_needs_no_pytorch():
    """Options are checked, and entries written, without the seconds that its import takes."""
    code = (
        "import sys, hf2triton.repository.add_entry as p; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
