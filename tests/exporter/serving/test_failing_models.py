"""One model that does not load leaves the others served."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from hf2triton.core.layout import GRAPH
from hf2triton.errors import ServingError
from hf2triton.serving import Server
from hf2triton_client import pipeline

from ...conftest import export_asset
from .failing import REASONS, add, out_of_range


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    """A small entry of a trained checkpoint."""
    folder = tmp_path_factory.mktemp("small") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp32", name="sentiment")
    return folder / "sentiment"


def ready(server, path: str) -> bool:
    request = urllib.request.Request(f"{server.http_url}/v2/{path}ready", headers={"Connection": "close"})
    try:
        return urllib.request.urlopen(request, timeout=10).status == 200
    except urllib.error.HTTPError:
        return False


def assert_others_are_served(server, served, failed):
    """Those that fail are named with their reason; those that do not answer, and the endpoint with them."""
    assert sorted(server.failed) == sorted(failed)
    assert ready(server, "health/")
    assert all(ready(server, f"models/{name}/") for name in served)
    assert not any(ready(server, f"models/{name}/") for name in failed)


@pytest.mark.parametrize("kind", sorted(REASONS))
def test_one_that_fails_leaves_the_others(tmp_path, kind):
    """Whatever way a model fails in, it is named once, with the reason that Triton has, and the other is served."""
    add(tmp_path, "well")
    add(tmp_path, kind)
    told = []
    patience = 10.0 if kind == "hangs" else 120.0
    started = Server(tmp_path, strict=False, ready_timeout=patience, on_failure=lambda *failure: told.append(failure))
    with started as server:
        assert told == [(kind, server.failed[kind])]
        assert re.search(REASONS[kind], server.failed[kind])
        assert "\n" not in server.failed[kind]
        assert_others_are_served(server, ["well"], [kind])


@pytest.mark.slow
def test_many_that_fail_leave_the_others(entry, tmp_path):
    """Several at once, which can crash Triton itself, keep nobody from the others' answers; nor are they started again."""
    kinds = [kind for kind in REASONS if kind not in ("hangs", "empty")]
    for kind in ("well", *kinds):
        add(tmp_path, kind)
    out_of_range(entry, tmp_path / "sentiment")
    out_of_range(entry, tmp_path / "bad-ids")
    (tmp_path / "sentiment" / "1" / "tokenizer.json").write_bytes((entry / "1" / "tokenizer.json").read_bytes())
    with Server(tmp_path, strict=False) as server, pipeline(model="sentiment", url=server.url) as classify:
        assert_others_are_served(server, ["well", "sentiment"], [*kinds, "bad-ids"])
        assert "out of data bounds" in server.failed["bad-ids"]
        time.sleep(1)  # the supervisor looks five times a second
        assert "reloading" not in server.log_text()
        assert classify("good")[0]["score"] > 0


def test_a_frontend_whose_graph_fails_is_named_as_well(tmp_path):
    """Without its graph it could answer nothing: it is not left ready."""
    for name in ("well", "other"):
        add(tmp_path, "well", name)
    add(tmp_path, "raises", "well_model")
    with Server(tmp_path, strict=False) as server:
        assert_others_are_served(server, ["other"], ["well", "well_model"])
        assert server.failed["well"] == "its graph, the model well_model, was not loaded"


def test_unless_told_otherwise_all_must_load(tmp_path):
    """A program that starts a server gets the reasons of all in one error."""
    for kind in ("well", "raises", "misspelt"):
        add(tmp_path, kind)
    with pytest.raises(
        ServingError, match=r"(?s)2 of 3 models .*misspelt: .*SyntaxError.*raises: .*a reason of its own"
    ):
        Server(tmp_path).start()


def test_where_nothing_is_left_the_start_fails(tmp_path):
    """A server without models is of no use."""
    add(tmp_path, "raises")
    with pytest.raises(ServingError, match=r"1 of 1 models .*not loaded:\n  raises: .*a reason of its own"):
        Server(tmp_path, strict=False).start()


def test_one_for_a_gpu_leaves_the_others(tmp_path, monkeypatch):
    """Where there is no GPU the others are served."""
    monkeypatch.setattr("hf2triton.serving.requirements.devices", lambda: ("cpu",))
    for name in ("well", "gpu"):
        add(tmp_path, "well", name)
    config = tmp_path / "gpu" / "config.pbtxt"
    config.write_text(config.read_text().replace("KIND_CPU", "KIND_GPU"))
    with Server(tmp_path, strict=False) as server:
        assert_others_are_served(server, ["well"], ["gpu"])
        assert "wants a GPU" in server.failed["gpu"]


def serve(repository, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "hf2triton", "serve", "--repository", str(repository), *options]
    command += ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_serve_says_so_at_once_and_at_the_end(entry, tmp_path):
    """The failed one is named before the others are served; after SIGTERM the exit code is 1."""
    out_of_range(entry, tmp_path / "sentiment")
    (tmp_path / "sentiment" / "1" / GRAPH).write_bytes(b"not a graph")
    add(tmp_path, "well")
    process = serve(tmp_path)
    try:
        first = process.stderr.readline()
        assert first.startswith("hf2triton: sentiment is not served: ")
        assert "INVALID_PROTOBUF" in first or "parsing failed" in first
        assert process.stdout.readline().startswith("serving ")
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert rest == "hf2triton: these models were not served: sentiment\n"


def test_strict_stops_instead(tmp_path):
    """With --strict nothing is served; the reason and the exit code are the same."""
    for kind in ("well", "raises"):
        add(tmp_path, kind)
    process = serve(tmp_path, "--strict")
    out, told = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "raises: Internal: ValueError: a reason of its own" in told
