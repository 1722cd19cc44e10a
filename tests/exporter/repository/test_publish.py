"""Publishing: versions, atomic switches, and crashes at every step."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from hf2triton.core.layout import LINKED, MANIFEST, entries, served_version, versions
from hf2triton.errors import RepositoryError
from hf2triton.repository.add_entry import publish

from ...support import snapshot

#: Every call of publishing that changes a directory.
STEPS = ("rename", "replace", "link", "mkdir", "unlink", "rmdir")


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "models" / "model_repository"


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


def test_frontends_of_one_entry_appear_together(staged, repository):
    """Where a task has several frontends, all get the same version, also after an error in the middle of publishing."""

    def pair():
        return staged.pair(repository)

    publish(pair())
    before = snapshot(repository)
    with pytest.MonkeyPatch.context() as patch:
        steps = calls_of(patch, 0, None)
        publish(pair())
        total = steps()
    for step in range(1, total + 1):
        shutil.rmtree(repository)
        publish(pair())
        before = snapshot(repository)
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
def test_an_error_at_any_step_changes_nothing_before_the_switch(staged, repository, runner, existing):
    """Whatever step fails, the repository is as it was, or the new version is complete and served."""
    if existing:
        publish([staged(repository, runner)])
    before = snapshot(repository)
    with pytest.MonkeyPatch.context() as patch:
        steps = calls_of(patch, 0, None)
        publish([staged(repository, runner)])
        total = steps()
    assert total > 5
    for step in range(1, total + 1):
        shutil.rmtree(repository, ignore_errors=True)
        if existing:
            publish([staged(repository, runner)])
            before = snapshot(repository)
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


CRASH = """
import os, sys
from pathlib import Path
step, count = int(sys.argv[1]), 0
def wrap(original):
    def call(*arguments, **options):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), 9)
        return original(*arguments, **options)
    return call
for name in {steps!r}:
    setattr(os, name, wrap(getattr(os, name)))
from hf2triton.repository import add_entry
from hf2triton.repository.staged_entry import ModelFiles
def frontend_files(staged, version, staging):
    contents = {{name: str(version).encode() for name in {files!r}}}
    return [ModelFiles(name, f"versions: {{version}}", {{}}, contents) for name in ("model_model", "model")], {{}}
add_entry.frontend_files = frontend_files
class Options: repository, name = Path(sys.argv[2]), "model"
class Staged: options, name = Options, "model"
add_entry.publish([Staged])
print(count)
"""


@pytest.mark.slow
def test_a_crash_at_any_step_leaves_the_old_version_serving(tmp_path):
    """Killed with SIGKILL at each step in turn, the config always names a version that is complete."""
    script = tmp_path / "crash.py"
    script.write_text(CRASH.format(steps=STEPS, files=LINKED))

    def run(step, repository):
        return subprocess.run([sys.executable, str(script), str(step), str(repository)], capture_output=True, text=True)

    total = int(run(0, tmp_path / "count" / "repository").stdout)
    served = set()
    for step in range(1, total + 30):
        repository = tmp_path / str(step) / "repository"
        assert run(0, repository).returncode == 0
        crashed = run(step, repository)
        version = served_version(repository, "model")
        assert_complete(repository, version)
        assert (repository / "model_model" / str(version)).is_dir()
        served.add(version)
        if crashed.returncode == 0:
            break
        assert run(0, repository).returncode == 0, "publishing goes on after a crash"
        assert not list(repository.parent.glob(".*staging*"))
    else:
        pytest.fail("publishing has more steps than were tried")
    assert served == {1, 2}


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
