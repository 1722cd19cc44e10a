"""The call overhead, measured on a live server and written into the entry."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import hf2triton.parity.checks as parity
from hf2triton.cli import main
from hf2triton.core.frontend_settings import CallLimits, EncoderSettings, GraphFile, read_encoder_settings
from hf2triton.core.manifest import served_manifest
from hf2triton.deploy.live import Live
from hf2triton.engines.cuda import ENGINE as CUDA
from hf2triton.errors import ServingError
from hf2triton.parity.call_overhead import fit_call_overhead
from hf2triton.repository.integrity import damages
from hf2triton.serving import Server
from hf2triton.tune.tune import sizes_of, tune
from hf2triton_client import connect, pipeline

from ...conftest import export_asset
from ...support import snapshot

#: What gRPC wants to have the key of the embedded server's control endpoints called.
KEY = "triton-grpc-protocol-hf2triton-control"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A repository with `tuned`, whose graph is a model of its own, and `whole`, which holds it itself."""
    repository = tmp_path_factory.mktemp("tune") / "model_repository"
    export_asset(repository, "bert", "text-classification", "fp32", name="tuned", runner="bls")
    export_asset(repository, "vit", "image-classification", "fp32", name="whole")
    return repository


@pytest.fixture
def running(exported, tmp_path):
    """A server on a copy of it, in which the overhead of `tuned` is none that can be measured."""
    repository = tmp_path / "model_repository"
    shutil.copytree(exported, repository)
    path = repository / "tuned" / "1" / "front.json"
    settings = json.loads(path.read_text())
    settings["limits"]["call_price"] = 9_999_998
    path.write_text(json.dumps(settings))
    with Server(repository) as server:
        yield server


def overhead_in(repository):
    return json.loads((repository / "tuned" / "1" / "front.json").read_text())["limits"]["call_price"]


def test_what_is_measured_is_written_where_the_frontend_reads_it(running):
    """front.json has the overhead, the manifest says so and has the new digest, beside config.pbtxt too; nothing else is touched;
    and the frontend, loaded again, goes on answering."""
    repository = running.repository
    before = served_manifest(repository, "tuned")
    runner = CliRunner()
    arguments = ["tune", "tuned", "--repository", str(repository), "--url", running.url]
    result = runner.invoke(main, [*arguments, "--load", "--header", f"{KEY}={running.control_headers[KEY]}"])
    assert result.exit_code == 0, result.output
    overhead = overhead_in(repository)
    assert 0 <= overhead < 1 << 14
    assert f"tuned: one more call costs {overhead} tokens, before 9999998; loaded again" in result.output
    manifest = served_manifest(repository, "tuned")
    assert manifest.serving.call_price_tokens == overhead
    assert json.loads((repository / "tuned" / "manifest.json").read_text()) == manifest.to_json()
    assert list(damages(repository, "tuned", manifest)) == []
    assert {name for name in manifest.files if manifest.files[name] != before.files[name]} <= {"front.json"}
    assert replace(manifest, files=before.files, serving=before.serving) == before
    assert running.log_text().count("successfully loaded 'tuned'") == 3, (
        "at the start, to try the key, and with the overhead"
    )
    with pipeline(model="tuned", url=running.url) as ask:
        assert len(ask(["one", "two words", "and three of them"])) == 3


@pytest.mark.parametrize("header", [[], ["--header", f"{KEY}=another"]])
def test_who_may_not_load_measures_nothing(running, header, monkeypatch):
    """With --load a key that is missing or wrong is told before anything is measured or written."""
    for variable in ("HF2TRITON_CONTROL_KEY", "HF2TRITON_CONTROL_KEY_FILE"):
        monkeypatch.delenv(variable, raising=False)
    before = snapshot(running.repository)
    arguments = ["tune", "tuned", "--repository", str(running.repository), "--url", running.url, "--load", *header]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "HF2TRITON_CONTROL_KEY" in result.output
    assert "×" not in result.output, "no size was tried"
    assert snapshot(running.repository) == before


def test_an_overhead_that_could_not_be_loaded_is_told(running, monkeypatch):
    """Where the server takes the frontend once and then no more, the error says that the overhead is written."""
    load, calls = Live.load, []

    def once(self, name, *arguments):
        calls.append(name)
        if len(calls) > 1:
            raise ServingError(f"{name} was not loaded: the server ended")
        load(self, name, *arguments)

    monkeypatch.setattr(Live, "load", once)
    written = r"was not loaded: the server ended .*\d+ tokens.* is written"
    with (
        connect(running.url, headers=running.control_headers) as connection,
        pytest.raises(ServingError, match=written) as told,
    ):
        tune(connection, running.repository, "tuned", load=True)
    assert f"{overhead_in(running.repository)} tokens" in str(told.value)


def test_calls_are_timed_by_the_server(running):
    """A call for each size, each with the time that the server itself took: the largest takes more than the smallest."""
    with connect(running.url) as connection:
        (result,) = tune(connection, running.repository, "tuned")
    settings = read_encoder_settings(running.repository / "tuned" / "1")
    assert [(call.rows, call.tokens) for call in result.calls] == sizes_of(settings)
    seconds = {(call.rows, call.tokens): call.seconds for call in result.calls}
    assert 0 < seconds[1, 8] < seconds[max(seconds, key=math.prod)]
    assert (result.frontend, result.version, result.before) == ("tuned", 1, 9_999_998)
    assert result.overhead == overhead_in(running.repository)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["whole"], 2, "whole runs its graph itself"),
        (["absent"], 1, "has no entry 'absent' (known: tuned, whole)"),
        (["tuned", "--header", "nothing"], 2, "--header should read NAME=VALUE, not nothing"),
        (["tuned", "--url", "localhost:1"], 1, "localhost:1"),
    ],
)
def test_what_cannot_be_tuned_is_refused(exported, arguments, code, message):
    """And nothing is written."""
    before = overhead_in(exported)
    result = CliRunner().invoke(main, ["tune", *arguments, "--repository", str(exported)])
    assert result.exit_code == code
    assert message in result.output
    assert overhead_in(exported) == before


@pytest.mark.parametrize("overhead", [0, 16, 512, 4000])
def test_the_fit_finds_the_overhead(overhead):
    """Of calls that take `a + b · tokens`, a / b."""
    sizes = [8, 32, 64, 512, 4096, 16384]
    assert fit_call_overhead(sizes, [1e-6 * (overhead + size) for size in sizes], 1 << 14) == overhead


def test_overheads_have_limits():
    """Noise below 0 is 0; time that does not grow with the tokens makes a call as dear as can be; small noise changes nothing."""
    sizes = [8, 16, 32, 64]
    assert fit_call_overhead(sizes, [1e-6 * (size - 4) for size in sizes], 256) == 0
    assert fit_call_overhead(sizes, [4e-3, 3e-3, 2e-3, 1e-3], 256) == 256
    assert fit_call_overhead(sizes, [1e-6 * (900 + size) for size in sizes], 256) == 256
    noisy = np.array([1e-6 * (41 + size) for size in sizes]) * [1.001, 0.999, 1.001, 0.999]
    assert fit_call_overhead(sizes, list(noisy), 256) % 4 == 0


def test_until_then_a_gpu_has_an_estimated_overhead(tmp_path):
    """It is not measured where the export runs, on a CPU, and the manifest holds it."""
    report = export_asset(tmp_path, "bert", "text-classification", "fp16", name="gpu", device="cuda", runner=None)
    assert "measure the call overhead" not in report.seconds
    settings = json.loads((tmp_path / "gpu" / "1" / "front.json").read_text())
    assert settings["limits"]["call_price"] == CUDA.call_overhead
    serving = report.entry.manifests["gpu"].serving
    assert serving.call_price_tokens == CUDA.call_overhead
    assert serving.memory.total == report.memory["gpu"].total
    assert json.loads(json.dumps(report.to_json()))["memory"]["gpu"]["max_batch_size"] == 64


def test_no_call_is_longer_than_the_model(tmp_path, monkeypatch):
    """The overhead of a model that takes fewer tokens than are tried is measured with as many as it takes."""
    monkeypatch.setattr(parity, "_ON_CPU", ((8, 1000), (1, 2), 256))
    report = export_asset(tmp_path, "bert", "text-classification", "fp32", name="short")
    assert "measure the call overhead" in report.seconds


def test_sizes_are_those_that_frontends_call():
    """From the smallest to the largest call, never more tokens than one call may hold, and of images one length."""

    def settings(rows, preprocessor):
        limits = CallLimits(call_price=0, max_rows=rows, max_tokens=1 << 14)
        return EncoderSettings(outputs={}, reader=preprocessor, limits=limits, runner=GraphFile(graph="model.onnx"))

    sizes = sizes_of(settings(64, {"max_length": 512}))
    assert (1, 8) in sizes
    assert (64, 128) in sizes
    assert (16, 512) in sizes
    assert all(rows * length <= 1 << 14 for rows, length in sizes)
    assert sizes_of(settings(3, {"tokens": 50})) == [(1, 50), (3, 50)]
    assert sizes_of(settings(3, {"max_length": 64, "fills": "right"})) == [(1, 64), (3, 64)]
