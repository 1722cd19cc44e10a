"""The embedded Triton: starts, recovers, refuses, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from hf2triton.core.layout import GRAPH
from hf2triton.errors import ServingError, UsageError
from hf2triton.serving import Server
from hf2triton_client import ServerError, pipeline

from ...conftest import export_asset

NAME = "sentiment"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A repository with one small entry."""
    folder = tmp_path_factory.mktemp("small") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp16", name=NAME)
    return folder


def wait_for(condition, seconds=PATIENCE):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def processes_below(pid: int) -> list[psutil.Process]:
    """A supervisor (or whoever started it), tritonserver and its stubs."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def left_in_shared_memory(pid: int, url: str) -> list[str]:
    """Regions of the server that process `pid` started at `url`."""
    port = url.rpartition(":")[2]
    return [path.name for path in Path("/dev/shm").glob(f"hf2triton-{pid}-{port}-*")]


def answers(url: str) -> bool:
    with pipeline("text-classification", model=NAME, url=url) as classify:
        return classify("good")[0]["score"] > 0


def alive(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def assert_gone(processes, pid, url):
    """No process and no shared memory is left."""
    wait_for(lambda: not alive(processes))
    wait_for(lambda: not left_in_shared_memory(pid, url))


def test_it_is_ready_once_its_metrics_are(small, monkeypatch):
    """Triton opens their port last: whoever scrapes a server that has started finds them."""
    asked, original = [], urllib.request.urlopen

    def late(request, *arguments, **options):
        asked.append(request.full_url.rpartition("/")[2])
        if asked.count("metrics") in (1, 2):
            raise ConnectionRefusedError
        return original(request, *arguments, **options)

    monkeypatch.setattr(urllib.request, "urlopen", late)
    with Server(small):
        assert asked[-3:] == ["metrics"] * 3
        assert "metrics" not in asked[:-3]


def test_it_starts_answers_and_stops(small):
    """A context manager: ready inside, nothing left outside, neither processes nor files nor ports."""
    with Server(small) as server:
        assert answers(server.url)
        processes = processes_below(server._process.supervisor.pid)
        assert any(process.name() == "tritonserver" for process in processes)
        assert left_in_shared_memory(os.getpid(), server.url)
        folder = server._claim.folder
        ports = vars(server.ports)
    assert not folder.exists()
    assert_gone(processes, os.getpid(), server.url)
    with Server(small, http_port=ports["http"], grpc_port=ports["grpc"], metrics_port=ports["metrics"]) as again:
        assert vars(again.ports) == ports


def test_a_model_that_was_not_built_is_passed_over(small, tmp_path):
    """A folder with a config alone, as the project's repository commits them, is no reason not to serve the others."""
    repository = Path(shutil.copytree(small, tmp_path / "model_repository"))
    (repository / "unbuilt").mkdir()
    config = (repository / NAME / "config.pbtxt").read_text()
    (repository / "unbuilt" / "config.pbtxt").write_text(config.replace(f'"{NAME}"', '"unbuilt"', 1))
    (repository / "hf2triton.yaml").write_text("entries: {}")
    with Server(repository) as server:
        assert answers(server.url)
        assert "unbuilt" not in server.log_text()


def test_a_dead_model_process_is_replaced(small):
    """A model whose process was killed answers again by itself."""
    with Server(small) as server:
        assert answers(server.url)
        [stub] = [p for p in processes_below(server._process.supervisor.pid) if "stub" in p.name()]
        time.sleep(0.5)  # the supervisor looks five times a second, and must have seen it alive
        stub.kill()
        began = time.monotonic()

        def recovered():
            try:
                return answers(server.url)
            except Exception:
                return False

        wait_for(recovered)
        print(f"answered again {time.monotonic() - began:.1f} s after its process was killed")
        assert "has died; reloading it" in server.log_text()


def test_a_new_version_is_served_after_load(small, tmp_path):
    """Publishing changes nothing for a running server until it is told to load; then the new version answers."""
    repository = Path(shutil.copytree(small, tmp_path / "model_repository"))
    with Server(repository) as server, pipeline(model=NAME, url=server.url) as classify:
        export_asset(repository, "bert", "text-classification", "fp32", name=NAME)
        assert classify("good").metadata[0].model_version == 1
        server.load(NAME)
        assert classify("good").metadata[0].model_version == 2
        with pytest.raises(ServingError, match="nope"):
            server.load("nope")


def test_the_control_endpoints_want_a_key(small):
    """Nobody but the one who started the server can load or unload models."""
    with Server(small) as server:
        for path in (f"repository/models/{NAME}/unload", "repository/index", "systemsharedmemory/region/x/register"):
            request = urllib.request.Request(f"{server.http_url}/v2/{path}", b"{}", {"Connection": "close"})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=10)
            assert refused.value.code == 403
        assert answers(server.url)


def start_cli(small, **options):
    command = [sys.executable, "-m", "hf2triton", "serve", "--repository", str(small)]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    line = process.stdout.readline()
    assert "gRPC 127.0.0.1:" in line, process.stderr.read()
    return process, line.split("gRPC ")[1].split(",")[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_whoever_started_it(small, number):
    """On SIGTERM and SIGINT, and when its parent is killed, the server goes and leaves nothing."""
    process, url = start_cli(small)
    assert answers(url)
    processes = processes_below(process.pid)[1:]
    folders = [Path(p.cwd()).parent for p in processes if p.name() == "tritonserver"]
    assert len(processes) >= 3
    process.send_signal(number)
    code = process.wait(PATIENCE)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert_gone(processes, process.pid, url)
    wait_for(lambda: not any(folder.exists() for folder in folders))


def test_it_ends_when_its_supervisor_is_killed(small):
    """Even without the supervisor, tritonserver does not outlive the program that started it."""
    server = Server(small).start()
    processes = processes_below(server._process.supervisor.pid)
    server._process.supervisor.kill()
    wait_for(lambda: not alive(processes))
    server.stop()
    assert not left_in_shared_memory(os.getpid(), server.url)


def test_a_corrupt_graph_is_named(small, tmp_path):
    """A model that does not load ends the start with Triton's reason."""
    repository = Path(shutil.copytree(small, tmp_path / "model_repository"))
    (repository / NAME / "1" / GRAPH).write_bytes(b"not a graph")
    server = Server(repository)
    with pytest.raises(ServingError, match=r"(?s)sentiment.*(INVALID_PROTOBUF|parsing failed)"):
        server.start()
    assert not left_in_shared_memory(os.getpid(), server.url)


def test_a_repository_without_models_is_refused(tmp_path):
    """An empty or missing folder is not served as if it held something."""
    with pytest.raises(ServingError, match="holds no model"):
        Server(tmp_path).start()
    with pytest.raises(ServingError, match="no model repository"):
        Server(tmp_path / "missing").start()


def test_stopping_a_server_that_never_ran(small):
    """stop() is harmless at any time."""
    server = Server(small)
    server.stop()
    server.stop()
    assert not server.running
    assert issubclass(ServerError, Exception)


def test_a_model_for_a_gpu_is_named_where_there_is_none(tmp_path, monkeypatch):
    """Instead of the server's own log: who wants one, and what can be done."""
    monkeypatch.setattr("hf2triton.serving.requirements.devices", lambda: ("cpu",))
    for name, kind in (("texts", "KIND_GPU"), ("others", "KIND_CPU # not KIND_GPU")):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(f"instance_group {{ kind: {kind}\n}}")
    with pytest.raises(ServingError, match=r"^texts of .* want a GPU, and there is none here: .*--device cpu"):
        Server(tmp_path).start()


def test_ports_are_each_its_own(small):
    """The same one given twice is found before anything is started."""
    with pytest.raises(UsageError, match="--http-port and --grpc-port are both 8010: give each its own"):
        Server(small, http_port=8010, grpc_port=8010).start()
