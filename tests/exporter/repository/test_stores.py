"""Repositories in object stores: fsspec's own memory, and S3's protocol from a server on this machine."""

import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta

import pytest

from hf2triton.deploy.history import prune, rollback, versions_in
from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import MissingPackage, RepositoryError, UsageError
from hf2triton.repository.lease import SECONDS, Lease
from hf2triton.repository.stores import open_store
from hf2triton.repository.transaction import JOURNAL

from ..entries import SHAPES, frontends, served_sizes

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    """A URL of a repository in this process's memory."""
    url = f"memory://{uuid.uuid4().hex}/models"
    yield url
    fsspec.filesystem("memory").store.clear()


def sizes_at(url, folder, interrupted=False):
    """What is served at a URL, which is copied to a folder for that."""
    shutil.rmtree(folder, ignore_errors=True)
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    for path in fs.find(root):
        target = folder / path[len(root) + 1 :]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(fs.cat_file(path))
    return served_sizes(folder, interrupted) if folder.exists() else {}


def whole_life(sources, shape, url, folder):
    """Publishes two versions, goes back, publishes again and removes what is old."""
    one, other = sources[shape]
    store, names = open_store(url), frontends(shape)
    assert [done.state for done in publish_entries(one, url)] == ["published"]
    assert sizes_at(url, folder) == dict.fromkeys(names, (1, 32))
    assert [(done.version, done.before) for done in publish_entries(other, url)] == [(2, 1)]
    assert sizes_at(url, folder) == dict.fromkeys(names, (2, 16))
    assert [done.state for done in publish_entries(other, url)] == ["unchanged"]
    assert rollback(store, shape) == (2, 1)
    assert sizes_at(url, folder) == dict.fromkeys(names, (1, 32))
    assert [done.state for done in publish_entries(other, url)] == ["switched"]
    assert prune(store, [], 1) == dict.fromkeys(sorted(names), (1,))
    assert {(one.frontend, one.number, one.served) for one in versions_in(store)} == {(name, 2, True) for name in names}
    assert sizes_at(url, folder) == dict.fromkeys(names, (2, 16))
    assert not [path.name for path in folder.iterdir() if path.name[0] in "._"], "neither locks nor journals are left"


@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_store_holds_the_same(sources, shape, memory, tmp_path):
    """All that is done in folders is done there, and gives the same files."""
    whole_life(sources, shape, memory, tmp_path / "copy")


@pytest.fixture
def s3(monkeypatch):
    """The URL of a bucket on a server that speaks S3, on this machine."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("bucket")
    yield "s3://bucket/models"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


def test_s3_holds_the_same(sources, s3, tmp_path):
    """The same over the network, with s3fs and a server that speaks S3."""
    whole_life(sources, "plain", s3, tmp_path / "copy")


class Gone(BaseException):
    """Stands for the end of a process: nothing that it would still do reaches the store."""


@pytest.mark.parametrize(("shape", "existing"), [("behind", True), ("pair", False)])
def test_every_step_survives(sources, shape, existing, memory, tmp_path):
    """Ended at each write in turn: each frontend that there is serves a version that is whole, and publishing again, once the
    lock has run out, completes it and leaves nothing else behind."""
    one, other = sources[shape]
    files = fsspec.filesystem("memory").store
    if existing:
        list(publish_entries(one, memory))
    before = dict(files)
    new = dict.fromkeys(frontends(shape), (2, 16) if existing else (1, 16))
    old = dict.fromkeys(frontends(shape), (1, 32)) if existing else {}
    step, finished, seen = 0, False, []
    while not finished:
        step += 1
        files.clear()
        files.update(before)
        with pytest.MonkeyPatch.context() as patch:
            end_at(patch, step)
            try:
                list(publish_entries(other, memory))
                finished = True
            except Gone:
                pass
        served = sizes_at(memory, tmp_path / "copy", interrupted=True)
        assert all(own in (old.get(frontend), new[frontend]) for frontend, own in served.items())
        assert served.keys() >= old.keys()
        seen.append(served)
        age_locks(files)
        list(publish_entries(other, memory))
        assert sizes_at(memory, tmp_path / "copy") == new
        assert not any("/." in path for path in files)
    assert seen[0] == old
    assert seen[-1] == new
    assert step > 20


@pytest.mark.parametrize("what", ["rollback", "prune"])
def test_every_step_of_going_back_and_removing_survives(sources, what, memory, tmp_path):
    """Ended at each write in turn: what is served is whole, and doing it again has the same end as if nothing had happened."""
    files = fsspec.filesystem("memory").store
    for source in sources["behind"]:
        list(publish_entries(source, memory))
    before, end, step, finished = dict(files), None, 0, False

    def change():
        if what == "rollback":
            rollback(open_store(memory), "behind", 1)
        else:
            prune(open_store(memory), ["behind"], 1)

    change()
    end = {path: file.getvalue() for path, file in files.items()}
    while not finished:
        step += 1
        files.clear()
        files.update(before)
        with pytest.MonkeyPatch.context() as patch:
            end_at(patch, step)
            try:
                change()
                finished = True
            except Gone:
                pass
        served = sizes_at(memory, tmp_path / "copy", interrupted=True)
        assert served in ({"behind": (2, 16)}, {"behind": (1, 32)} if what == "rollback" else None)
        age_locks(files)
        change()
        assert {path: file.getvalue() for path, file in files.items()} == end
    assert step > 8


def age_locks(files):
    """Makes the locks in memory as old as those of publishers that are long gone."""
    for path, file in files.items():
        if "/.locks/" in path:
            file.modified -= timedelta(seconds=SECONDS + 1)


def end_at(patch, step):
    """Ends the process, so to say, at the step-th call that changes the store."""
    kind, count = type(fsspec.filesystem("memory")), 0

    def wrap(original):
        def call(self, path, *arguments, **options):
            nonlocal count
            if threading.current_thread() is threading.main_thread():
                count += 1
            if count >= step:
                raise Gone
            return original(self, path, *arguments, **options)

        return call

    for name in ("pipe_file", "put_file", "rm_file"):
        patch.setattr(kind, name, wrap(getattr(kind, name)))
    patch.setattr(Lease, "_kept", lambda self: threading.Lock())  # a dead process does not renew it either


def test_a_lossy_store_is_noticed(sources, memory, tmp_path, monkeypatch):
    """A file that reads back as another is refused before anything is switched."""
    one, other = sources["plain"]
    list(publish_entries(one, memory))
    kind = type(fsspec.filesystem("memory"))
    original = kind.put_file
    monkeypatch.setattr(
        kind, "put_file", lambda self, source, path: (original(self, source, path), self.pipe_file(path, b"x"))
    )
    with pytest.raises(RepositoryError, match="is not what its manifest says"):
        list(publish_entries(other, memory))
    assert sizes_at(memory, tmp_path / "copy") == {"plain": (1, 32)}
    assert open_store(memory).read(JOURNAL) is None


def test_a_lock_is_held_by_one(memory):
    """Of several who want it, one at a time is within; all of them come to be."""
    fs, root = fsspec.core.url_to_fs(memory)
    within, most, done = [], [], []

    def want(number):
        with Lease(fs, f"{root}/.locks", 2.0).held(lambda what: None):
            within.append(number)
            most.append(len(within))
            time.sleep(0.02)
            within.remove(number)
            done.append(number)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(5))
    assert set(most) == {1}
    assert fs.find(f"{root}/.locks") == []


def test_a_lock_is_renewed_while_it_is_held(memory):
    """Its holder writes it again and again."""
    fs, root = fsspec.core.url_to_fs(memory)
    with Lease(fs, f"{root}/.locks", 0.2).held(lambda what: None):
        [path] = fs.find(f"{root}/.locks")
        first = fs.modified(path)
        while fs.modified(path) == first:
            time.sleep(0.01)  # the test's own time limit ends a lock that is not renewed


def test_a_lock_of_a_publisher_that_is_gone_is_taken(memory):
    """One that was not renewed for its time is removed by the next; whoever comes back then may not switch any more."""
    fs, root = fsspec.core.url_to_fs(memory)
    first, second = (Lease(fs, f"{root}/.locks", SECONDS) for _ in range(2))
    waited = []
    with first.held(lambda what: None):
        first.check()

        def waiting(what):
            waited.append(what)
            age_locks(fs.store)

        with second.held(waiting):
            second.check()
            with pytest.raises(RepositoryError, match="was lost"):
                first.check()
    assert len(waited) == 1
    assert f"process {os.getpid()}" in waited[0]
    assert fs.find(f"{root}/.locks") == []


def test_a_holder_needs_no_name(memory, monkeypatch):
    """In a container that runs as a user whom it does not know, the lock says the user's number."""
    monkeypatch.setattr("getpass.getuser", lambda: pwd.getpwuid(2**31 - 5)[0])  # KeyError
    fs, root = fsspec.core.url_to_fs(memory)
    first, second = (Lease(fs, f"{root}/.locks", SECONDS) for _ in range(2))
    waited = []

    def waiting(what):
        waited.append(what)
        age_locks(fs.store)

    with first.held(waiting), second.held(waiting):
        assert f"user {os.getuid()} on " in waited[0]


def test_what_a_place_needs_is_told(monkeypatch):
    """A scheme that is not known lists the known ones; one whose package is missing says which to install."""
    with pytest.raises(UsageError, match=r"ftp://.*s3://"):
        open_store("ftp://host/models")

    def missing(url):
        raise ImportError("no")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")):
        with pytest.raises(MissingPackage, match=f"pip install {package}"):
            open_store(f"{scheme}://bucket/models")


def test_folders_need_no_fsspec(sources, tmp_path):
    """Publishing in a folder loads neither fsspec nor PyTorch, from which it can do without."""
    code = (
        "import sys; from pathlib import Path; from hf2triton.deploy.transfer import publish_entries;"
        "list(publish_entries(Path(sys.argv[1]), sys.argv[2]));"
        "sys.exit(bool({'fsspec', 'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(sources["plain"][0]), str(tmp_path / "dest")]
    assert subprocess.run(command).returncode == 0
    assert served_sizes(tmp_path / "dest") == {"plain": (1, 32)}
