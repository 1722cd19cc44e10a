"""serve.sh and health.py, with the real server: what the image starts, how it is asked whether it is well, and how it stops."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from hf2triton.core.layout import entries
from hf2triton.kubernetes.resources import host_bytes, need_of
from hf2triton_client import pipeline

from ..exporter.serving.failing import REASONS, add
from ..support import TEXTS
from .conftest import DOCKER, KEY, entry_point, serving


def health(served, what: str) -> subprocess.CompletedProcess:
    """The health check, as the container runs it."""
    own = {"HF2TRITON_HTTP_PORT": str(served.ports["http"]), "HF2TRITON_SERVER_PID": str(served.process.pid)}
    command = [sys.executable, "-I", str(DOCKER / "health.py"), what]
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=60)


def stubs(served) -> list[psutil.Process]:
    """The processes of the Python models."""
    return [child for child in served.tritonserver.children() if "python_backend" in child.name()]


def test_the_script_becomes_the_supervisor(served):
    """It is replaced by the process that gets the container's signals, and tritonserver is right below that."""
    assert "supervise.py" in " ".join(psutil.Process(served.process.pid).cmdline())
    assert served.tritonserver.name() == "tritonserver"


def test_later_arguments_prevail(served):
    """Whoever runs the image may override the script's flags."""
    assert "exit_timeout" in served.log.read_text()
    [line] = [line for line in served.log.read_text().splitlines() if "| exit_timeout" in line]
    assert line.split("|")[2].strip() == "20"


@pytest.mark.parametrize(
    "path",
    ["v2/repository/models/sentiment/unload", "v2/repository/index", "v2/logging", "v2/systemsharedmemory/status"],
)
def test_control_wants_the_key(served, path):
    """Models, logs and shared memory are for whoever has the key."""
    data = b"{}" if path.startswith("v2/repository") else None
    assert served.ask(path, data=data)[0] == 403
    if not path.endswith("unload"):
        assert served.ask(path, data=data, **{"hf2triton-control": KEY})[0] == 200


def test_without_a_key_nobody_has_one(tmp_path):
    """Each start makes one up, the same for both protocols."""
    fake = tmp_path / "tritonserver"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "HF2TRITON_CONTROL_KEY"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    keys, script = [], entry_point(tmp_path)
    for _ in range(2):
        told = subprocess.run([str(script), "--x"], env=environment, capture_output=True, text=True).stdout
        lines = told.splitlines()
        assert lines[-1] == "--x"
        both = {line.rpartition("hf2triton-control=")[2] for line in lines if "restricted" in line}
        assert len(both) == 1
        keys += both
    assert all(len(key) == 32 for key in keys)
    assert keys[0] != keys[1]


def test_memory_is_not_underestimated(served, measured):
    """What the manifests ask for is more than the server takes at work, and not many times more."""
    with pipeline(model="sentiment", url=served.url) as classify, ThreadPoolExecutor(8) as pool:
        list(pool.map(classify, [TEXTS * 8] * 16))
    with pipeline(model="verses", url=served.url) as write:
        write(["And"] * 16, max_new_tokens=30)
    server = psutil.Process(served.process.pid)
    taken = sum(process.memory_info().rss for process in [server, *server.children(recursive=True)])
    estimate = host_bytes([need_of(measured.repository, name, os.cpu_count()) for name in entries(measured.repository)])
    assert taken <= estimate <= 4 * taken


def test_a_server_at_work_is_well(served):
    """Both checks pass."""
    for what in ("live", "ready"):
        result = health(served, what)
        assert (result.returncode, result.stderr) == (0, "")


def wait_for(condition, what: str):
    until = time.monotonic() + 120
    while not (found := condition()):
        assert time.monotonic() < until, f"waited too long for {what}"
        time.sleep(0.05)
    return found


def answers(served) -> bool:
    tensor = {"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["good"]}
    with contextlib.suppress(OSError):
        return served.ask("v2/models/sentiment/infer", data=json.dumps({"inputs": [tensor]}).encode())[0] == 200
    return False


def test_a_dead_model_is_loaded_again(served):
    """Triton calls a model ready whose process has died. It is brought back, again and again; the container stays well."""
    for _ in range(2):
        model = wait_for(lambda: [stub for stub in stubs(served) if "/sentiment/" in " ".join(stub.cmdline())], "it")[0]
        said = served.log.read_text().count("serve.sh: model sentiment is loaded again")
        model.kill()
        wait_for(
            lambda: served.log.read_text().count("serve.sh: model sentiment is loaded again") > said,  # noqa: B023
            "the model",
        )
        assert answers(served)
        assert health(served, "live").returncode == 0


@pytest.mark.parametrize("how", ["suspend", "kill"])
def test_a_server_that_hangs_or_ends_is_started_again(served, how):
    """On the same ports with the same models, below the same supervisor."""
    before, again = served.tritonserver, "serve.sh: tritonserver is there again"
    starts = served.log.read_text().count(again)
    getattr(before, how)()
    wait_for(lambda: served.log.read_text().count(again) > starts, "the end of its start")
    wait_for(lambda: not before.is_running() and answers(served), "another server")
    assert served.tritonserver.cmdline()[-2:] == ["--load-model=sentiment", "--load-model=verses"]
    assert re.search(
        r"^serve\.sh: tritonserver .*SIG.*; starting it again with 2 models$", served.log.read_text(), re.M
    )
    wait_for(lambda: health(served, "ready").returncode == 0, "health")


def test_a_model_that_stays_away_is_noticed(served):
    """What does not come back within a minute has the container replaced."""
    notes = Path(tempfile.gettempdir(), f"hf2triton-away-{served.process.pid}.json")
    assert json.loads(notes.read_text()) == {}
    try:
        notes.write_text(json.dumps({"sentiment": time.monotonic() - 50}))
        assert health(served, "live").returncode == 0
        notes.write_text(json.dumps({"sentiment": time.monotonic() - 70}))
        for what in ("live", "ready"):
            result = health(served, what)
            assert (result.returncode, result.stderr) == (
                1,
                "models whose process has died have been away for more than 60 s: sentiment\n",
            )
        elsewhere = {**os.environ, "HF2TRITON_HTTP_PORT": "1", "HF2TRITON_SERVER_PID": str(served.process.pid)}
        command = [sys.executable, "-I", str(DOCKER / "health.py")]
        codes = [
            subprocess.run([*command, what], env=elsewhere, stderr=subprocess.DEVNULL) for what in ("live", "ready")
        ]
        assert [result.returncode for result in codes] == [0, 1], "a server that is started again is live, not ready"
    finally:
        notes.write_text("{}")


def test_a_server_that_is_not_there_is_not_well(served):
    """A port that nobody listens on fails the check."""
    served.process.send_signal(signal.SIGKILL)
    served.process.wait()
    result = health(served, "ready")
    assert result.returncode == 1
    assert "not ready" in result.stderr


def test_a_term_signal_finishes_what_is_in_flight(measured):
    """A text that is being generated comes to its end, and the server ends by itself."""
    with serving(measured.repository, Path(sys.prefix) / "bin") as own, pipeline(model="verses", url=own.url) as write:
        pieces = write.stream("And", max_new_tokens=200, ignore_eos=True)
        received = [next(pieces)]
        own.process.terminate()
        received += pieces
        assert len(received) > 1
        assert own.process.wait(60) == 0


def test_one_model_that_fails_leaves_the_others(tmp_path):
    """Those that fail are named with Triton's reason, though some would take the server down; at the end the code is 1."""
    kinds = ["raises", "leaves_at_work", "raises_at_work", "empty", "unreadable"]
    for kind in ("well", *kinds):
        add(tmp_path, kind)
    with serving(tmp_path, Path(sys.prefix) / "bin") as own:
        assert own.ask("v2/models/well/ready")[0] == 200
        until = time.monotonic() + 30
        while sorted(named := own.named()) != sorted(kinds):
            assert time.monotonic() < until, named
            time.sleep(0.1)
        assert not {kind: reason for kind, reason in named.items() if not re.search(REASONS[kind], reason)}
        for what in ("live", "ready"):
            assert health(own, what).returncode == 0
        own.process.terminate()
        assert own.process.wait(60) == 1


@pytest.mark.parametrize(("kinds", "strict"), [(("well", "raises"), "1"), (("raises",), "")], ids=["strict", "all"])
def test_where_it_is_no_use_to_go_on_it_ends(tmp_path, kinds, strict):
    """Told to be strict, or without any model, the container ends with 1, and has said why."""
    for kind in kinds:
        add(tmp_path, kind)
    with serving(tmp_path, Path(sys.prefix) / "bin", wait=False, HF2TRITON_STRICT=strict) as own:
        assert own.process.wait(60) == 1
        assert list(own.named()) == ["raises"]


def test_a_term_signal_ends_it_while_it_loads(tmp_path):
    """Nobody has to wait for models that are not needed any more."""
    add(tmp_path, "hangs")
    with serving(tmp_path, Path(sys.prefix) / "bin", wait=False) as own:
        until = time.monotonic() + 30
        while "loading: hangs" not in own.log.read_text():
            assert time.monotonic() < until
            time.sleep(0.1)
        began = time.monotonic()
        own.process.terminate()
        own.process.wait(60)
        assert time.monotonic() - began < 30


@pytest.mark.slow
def test_what_takes_too_long_is_left_out(tmp_path):
    """Where a time is set, a model that takes longer counts as failed."""
    for kind in ("well", "hangs"):
        add(tmp_path, kind)
    with serving(tmp_path, Path(sys.prefix) / "bin", HF2TRITON_LOAD_SECONDS="8") as own:
        assert own.ask("v2/models/well/ready")[0] == 200
        assert list(own.named()) == ["hangs"]
