"""What a real server does when processes die, stand still, or cannot come back: everything is there again, by itself."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from hf2triton.core.layout import GRAPH
from hf2triton.serving import Server
from hf2triton.serving.renewal import KEPT
from hf2triton_client import ClientError, pipeline

from ...conftest import export_asset
from .below import answers, ask, said, stub, tritonserver, wait_for

TEXTS, WRITES = "sentiment", "verses"
#: Longer than anybody waits who is told of a failure.
DEADLINE = 150.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A model that classifies texts and one that generates."""
    folder = tmp_path_factory.mktemp("recovery") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp16", name=TEXTS)
    export_asset(folder, "gpt2", "text-generation", "fp16", name=WRITES)
    return folder


@pytest.fixture(scope="module")
def shared(repository):
    with Server(repository) as running:
        yield running


@pytest.fixture
def server(shared):
    """A server at which all is well, and is again afterwards."""
    assert answers(shared, TEXTS)
    yield shared
    wait_for(lambda: answers(shared, TEXTS), "an answer after the test")
    wait_for(lambda: ready(shared, WRITES), "a model that generates after the test")


def ready(server: Server, model: str) -> bool:
    with contextlib.suppress(OSError):
        ask(server, f"models/{model}/ready")
        return stub(server, model) is not None
    return False


def test_a_death_that_nobody_saw_coming_is_noticed(server):
    """A process that is killed, and so is the next one as soon as it is there: no moment is too early to die."""
    first = stub(server, TEXTS)
    first.kill()
    for _ in range(2):
        before = first
        first = wait_for(lambda: (now := stub(server, TEXTS)) not in (None, before) and now, "a new process")  # noqa: B023
        first.kill()
    wait_for(lambda: answers(server, TEXTS), "an answer")
    assert stub(server, TEXTS) != first


def test_a_process_that_stands_still_is_replaced(server):
    """Nobody sets it going again: it is killed, and the operator is told so."""
    written, still, whole = len(server.log_text()), stub(server, TEXTS), tritonserver(server)
    still.suspend()
    wait_for(lambda: not still.is_running() or still.status() == psutil.STATUS_ZOMBIE, "its end")
    wait_for(lambda: answers(server, TEXTS), "an answer")
    assert f"the process of model {TEXTS} was stopped for 2 s (SIGSTOP); killing it" in said(server, written)
    assert tritonserver(server) == whole, "one model is no reason to start all of them again"


def test_a_model_that_cannot_be_loaded_is_tried_again(server):
    """Its file is away when it dies, and put back later. Each try is reported with its reason; the pauses grow."""
    written, graph = len(server.log_text()), server.repository / TEXTS / "1" / GRAPH
    away = graph.rename(graph.parent.parent / "away")
    try:
        stub(server, TEXTS).kill()
        why = f"model {TEXTS} could not be loaded: {graph} is missing: copy the model again, or export it; trying again in"
        wait_for(lambda: said(server, written).count(why) == 3, "three tries")
    finally:
        away.rename(graph)
    wait_for(lambda: answers(server, TEXTS), "an answer")
    told = [line for line in said(server, written).splitlines() if why in line]
    assert [line.removesuffix(" s").rpartition(" ")[2] for line in told[:3]] == ["0.5", "1", "2"]
    assert f"model {TEXTS} is loaded again" in said(server, written)


@pytest.mark.parametrize("amid", [True, False], ids=["amid", "before"])
def test_texts_whose_process_dies_end_soon(server, amid):
    """Long before their deadline, by gRPC without retries and over HTTP, whether or not the process had begun with them."""
    dead, asked = threading.Event(), {"text_input": "And", "parameters": {"max_new_tokens": 200, "ignore_eos": True}}
    process = stub(server, WRITES)
    if not amid:
        process.suspend()

    def over_http() -> None:
        while not dead.is_set():
            ask(server, f"models/{WRITES}/generate_stream", asked, DEADLINE)

    def by_grpc() -> None:
        with pipeline(model=WRITES, url=server.url, timeout=DEADLINE, retries=0) as write:
            while not dead.is_set():
                write("And", max_new_tokens=200, ignore_eos=True)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for call in [over_http, by_grpc] * 4]
        time.sleep(0.5)
        began = time.monotonic()
        process.kill()
        dead.set()
        errors = [call.exception(DEADLINE) for call in calls]
    assert time.monotonic() - began < DEADLINE / 3
    assert any(errors), "none was under way"
    assert all(isinstance(error, OSError) for error in errors[::2] if error)
    assert all(isinstance(error, ClientError) for error in errors[1::2] if error)
    assert not any(isinstance(error, TimeoutError) for error in errors)  # DeadlineExceeded is one


@pytest.mark.parametrize("how", ["kill", "suspend"])
def test_a_server_that_ends_or_stands_still_is_started_again(server, how):
    """On the same ports, with the same options and models; callers without retries are told, those with are answered."""
    before, written = tritonserver(server), len(server.log_text())
    options = before.cmdline()[1:]
    with pipeline(model=TEXTS, url=server.url, timeout=DEADLINE, retries=0) as classify:
        getattr(before, how)()
        began = time.monotonic()
        with contextlib.suppress(ClientError):
            classify("good")
        assert time.monotonic() - began < DEADLINE / 3
    # models answer before all of them are there; what happens until then is another try to start it
    wait_for(lambda: "tritonserver is there again" in said(server, written), "the end of its start")
    wait_for(lambda: answers(server, TEXTS), "an answer")
    after = tritonserver(server)
    assert after != before
    assert after.cmdline()[1:] == options
    reason = {"kill": "has ended (SIGKILL)", "suspend": "was stopped for 2 s (SIGSTOP)"}[how]
    assert f"tritonserver {reason}; starting it again with 2 models" in said(server, written)


#: Of a model that waits for ever once it is asked so.
DEADLOCK = """
class TritonPythonModel(TritonPythonModel):
    def execute(self, requests):
        if any(b"wait" in triton.get_input_tensor_by_name(one, "text").as_numpy().item(0) for one in requests):
            threading.Event().wait()
        return super().execute(requests)
"""


@pytest.mark.slow
def test_a_process_that_hangs_is_replaced(repository, tmp_path):
    """It waits for ever without having been stopped, while others have to wait for it. What computes is left alone."""
    shutil.copytree(repository / TEXTS, tmp_path / TEXTS)
    code = tmp_path / TEXTS / "1" / "model.py"
    code.write_text(f"{code.read_text()}\nimport threading\nimport triton_python_backend_utils as triton\n{DEADLOCK}")

    def call(text: str) -> str:
        with pipeline(model=TEXTS, url=server.url, timeout=DEADLINE, retries=0) as classify:
            return classify(text)[0]["label"]

    with Server(tmp_path) as server, ThreadPoolExecutor(3) as pool:
        before = stub(server, TEXTS)
        assert call("good") == "POSITIVE"
        began = time.monotonic()
        hanging = pool.submit(call, "wait")
        time.sleep(0.5)
        waiting = [pool.submit(call, "good") for _ in range(2)]
        wait_for(lambda: stub(server, TEXTS) not in (None, before) and answers(server, TEXTS), "another process")
        assert isinstance(hanging.exception(DEADLINE), ClientError)
        for one in waiting:
            assert one.exception(DEADLINE) is None or isinstance(one.exception(), ClientError)
        assert time.monotonic() - began < DEADLINE / 2
        why = f"the process of model {TEXTS} has done nothing for 10 s though requests wait for it; killing it"
        assert why in said(server)


@pytest.mark.slow
def test_a_server_that_keeps_too_much_is_renewed(repository):
    """After so many deaths at work another one takes over on the same ports. Who calls meanwhile notices nothing."""
    lost, over, calls = [], threading.Event(), Counter()

    def call(caller: int) -> None:
        with pipeline(model=TEXTS, url=server.url, timeout=DEADLINE) as classify:
            while not over.is_set():
                try:
                    classify("good")
                except ClientError as error:
                    lost.append(error)
                calls[caller] += 1

    with Server(repository) as server, ThreadPoolExecutor(3) as pool:
        first = tritonserver(server)
        back, taken = f"model {TEXTS} is loaded again", "another tritonserver has taken over"
        callers = [pool.submit(call, caller) for caller in range(3)]
        try:
            deaths = 0
            while "starting another one" not in said(server):
                deaths += 1
                assert deaths < 10 * KEPT
                stub(server, TEXTS).kill()
                # where the other server was started just before this death, the model may come back there
                wait_for(lambda: said(server).count(back) >= deaths or taken in said(server), "the model")  # noqa: B023
                wait_for(lambda: answers(server, TEXTS), "an answer")
            made = calls.copy()  # those under way may have been told of the last death
            wait_for(lambda: all(calls[caller] > made[caller] + 1 for caller in range(3)), "further calls")
            before = len(lost)
            wait_for(lambda: taken in said(server), "the other server")
            assert tritonserver(server) != first
            wait_for(
                lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, "the end of the first one"
            )
        finally:
            over.set()
        for caller in callers:
            caller.result(DEADLINE)
        assert lost[before:] == []
        assert answers(server, TEXTS)


def test_what_was_killed_with_all_above_it_is_cleared_up(repository, tmp_path, monkeypatch):
    """The command and what watches over it are killed while the server cannot end by itself; the next start on the same ports
    succeeds, and leaves no process, folder or shared memory of the old one."""
    (tmp_path / "tmp").mkdir()
    only = tmp_path / "model_repository"
    only.mkdir()
    (only / TEXTS).symlink_to(repository / TEXTS)
    command = [sys.executable, "-m", "hf2triton", "serve", "--repository", str(only)]
    command += [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
    below = []

    def folders() -> list[Path]:
        return list((tmp_path / "tmp").glob("hf2triton-*"))

    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    )
    try:
        assert "gRPC 127.0.0.1:" in program.stdout.readline()
        below += psutil.Process(program.pid).children(recursive=True)
        supervisor, server = below[0], next(one for one in below if one.name() == "tritonserver")
        ports = dict(re.findall(r"--(http|grpc|metrics)-port=(\d+)", " ".join(server.cmdline())))
        for one in (server, supervisor):
            one.suspend()
        for one in (supervisor, program):
            one.kill()
        program.wait()
        prefix = f"hf2triton-{program.pid}-"
        assert len(folders()) == 1
        assert any(Path("/dev/shm").glob(f"{prefix}*"))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        with Server(only, **{f"{name}_port": int(port) for name, port in ports.items()}) as again:
            assert answers(again, TEXTS)
            assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below)
            assert folders() == [again._claim.folder]
            assert not any(Path("/dev/shm").glob(f"{prefix}*"))
        assert folders() == []
    finally:
        program.kill()
        program.wait()
        for one in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
