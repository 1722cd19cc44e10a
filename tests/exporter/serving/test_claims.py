"""Folders of servers: kept while their owners live, and cleared up once these were killed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hf2triton.errors import ServingError
from hf2triton.serving import claims, leftovers
from hf2triton.serving.claims import Claim, clear_up, clear_up_for
from hf2triton.serving.proc import Status
from hf2triton.serving.requirements import check_ports

from .below import PATIENCE, wait_for
from .children import SLEEPS, children


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(leftovers, "_ENVIRONMENTS", tmp_path)
    return tmp_path


@pytest.fixture
def region():
    """A region of shared memory, by the beginning of its name."""
    prefix = f"hf2triton-test-{uuid.uuid4().hex}-"
    path = Path("/dev/shm", f"{prefix}1")
    path.write_bytes(b"x")
    yield path, prefix
    path.unlink(missing_ok=True)


def test_what_is_claimed_is_left_alone(region):
    """By this process or by one to which it was handed on, as the supervisor is when the program was killed."""
    path, prefix = region
    claim = Claim.new()
    claim.note(prefix)
    clear_up()
    assert claim.folder.is_dir()
    with children() as start:
        start(SLEEPS, pass_fds=[claim.lock])
        os.close(claim.lock)
        clear_up()
        assert claim.folder.is_dir()
        assert path.exists()
    clear_up()
    assert not claim.folder.exists()
    assert not path.exists()


def test_a_server_that_is_left_is_ended(folder):
    """It uses the folder. Others, and whatever else mentions it, are not."""
    for name in ("tritonserver", "tail"):
        (folder / name).symlink_to(sys.executable)
    claim = Claim.new()
    with children() as start:
        mine = start(SLEEPS, f"--backend-directory={claim.folder}/backends", program=str(folder / "tritonserver"))
        other = start(SLEEPS, f"--backend-directory={claim.folder}x/backends", program=str(folder / "tritonserver"))
        reads = start(SLEEPS, f"{claim.folder}/server.log", program=str(folder / "tail"))
        clear_up()
        assert mine.poll() is None
        os.close(claim.lock)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(mine.wait, PATIENCE)  # it is this process's child: somebody has to wait for it
            clear_up()
        wait_for(lambda: mine.poll() is not None, "its end")
        assert (other.poll(), reads.poll()) == (None, None)
    assert not claim.folder.exists()


@contextmanager
def dying(claim, seconds):
    """A process with a claim and a port, which ends on its own; yields the check that the port is free."""
    listens = "server = socket.create_server(('127.0.0.1', 0))\nprint(server.getsockname()[1], flush=True)\n"
    with children() as start:
        process = start(f"{listens}time.sleep({seconds})", pass_fds=[claim.lock])
        os.close(claim.lock)
        yield partial(check_ports, {"grpc": "127.0.0.1"}, {"grpc": int(process.stdout.readline())})


def test_what_was_killed_only_just_now_is_in_nobodys_way(monkeypatch):
    """It still has its claim and its port while it ends. A start on the same port waits for it. What it leaves is cleared up
    then, or by the next start if its claim outlives its port."""
    monkeypatch.setattr(claims, "_GONE_SECONDS", PATIENCE)
    claim = Claim.new()
    with dying(claim, 1.0) as check:
        with pytest.raises(ServingError):
            check()
        clear_up_for(check)
    clear_up()
    assert not claim.folder.exists()


def test_a_port_that_stays_in_use_is_an_error(monkeypatch):
    monkeypatch.setattr(claims, "_GONE_SECONDS", 0.1)
    claim = Claim.new()
    with dying(claim, PATIENCE) as check:
        with pytest.raises(ServingError, match=r"--grpc-port .* in use"):
            clear_up_for(check)
        assert claim.folder.is_dir()


def test_many_may_clear_up_and_claim_at_a_time():
    """Nobody's claim is taken from him, and nothing is left of those that were given up."""
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            abandoned = Claim.new()
            os.close(abandoned.lock)
            clearing = [pool.submit(clear_up) for _ in range(4)]
            claimed = [pool.submit(Claim.new) for _ in range(8)]
            for one in clearing:
                one.result()
            assert not abandoned.folder.exists()
            for claim in [one.result() for one in claimed]:
                assert (claim.folder / "owner").is_file()
                claim.release()
                assert not claim.folder.exists()


def test_a_folder_that_was_cleared_up_cannot_be_claimed(folder, monkeypatch):
    """Somebody believed it abandoned before it was locked: another one is made."""
    taken, locked = [], claims._locked

    def late(lock: int) -> bool:
        if not taken:
            taken.append(Path(f"/proc/self/fd/{lock}").readlink().parent)
            shutil.rmtree(taken[0])
        return locked(lock)

    monkeypatch.setattr(claims, "_locked", late)
    claim = Claim.new()
    assert claim.folder.is_dir()
    assert claim.folder != taken[0]
    claim.release()


def test_one_that_was_never_claimed_goes_once_it_is_old(folder, monkeypatch):
    """Somebody may be about to claim it."""
    new = folder / "hf2triton-server-new"
    new.mkdir()
    clear_up()
    assert new.is_dir()
    monkeypatch.setattr(claims, "_NEW_SECONDS", -1.0)
    clear_up()
    assert not new.exists()


def test_folders_of_the_python_backend_go_with_their_servers(folder, monkeypatch):
    """Those that are older than all servers, and empty."""
    ages = {"python_env_older1": 5000, "python_env_filled": 5000, "python_env_newer1": 1000}
    for name, age in ages.items():
        (folder / name).mkdir()
        (folder / name / "file").touch()
        if name != "python_env_filled":
            (folder / name / "file").unlink()
        os.utime(folder / name, (time.time() - age,) * 2)
    server = Status("tritonserver", "S", 1, 0.0, age=2000.0)
    monkeypatch.setattr(leftovers, "processes", lambda: [(7, server), (8, replace(server, name="bash", age=9000.0))])
    leftovers.remove_environments()
    assert {path.name for path in folder.iterdir()} == {"python_env_filled", "python_env_newer1"}
