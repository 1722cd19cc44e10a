"""`hf2triton bench` on a real server: who is measured, where and in which order, and what is said of those who cannot be."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hf2triton.bench import memory, plan, run
from hf2triton.bench.inputs import batches_of
from hf2triton.bench.plan import BenchOptions, frontends_named, groups_of
from hf2triton.cli import main
from hf2triton.cli.bench_tables import bench_tables, in_words, relative
from hf2triton.engines.common.devices import devices
from hf2triton.errors import RepositoryError, UnknownName, UsageError
from hf2triton_client import ConnectionFailed, ModelNotFound
from hf2triton_client.loadgen.results import Load

QUICK = {"seconds": 0.3, "warm_up": 0.1}


def options_of(server, *names, **more):
    return BenchOptions(names, server.url, server.repository, **{**QUICK, **more})


def invoke(*arguments):
    return CliRunner().invoke(main, ["bench", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def recorded():
    """The children of `result`'s run, in order: (job, found)."""
    return []


@pytest.fixture(scope="module")
def result(measured, recorded, tmp_path_factory):
    """The command's output and report, with every kind of contender but torch.compile."""
    real = run.run_child

    def noting(job):
        recorded.append((job, real(job)))
        return recorded[-1][1]

    report = tmp_path_factory.mktemp("bench") / "report.json"
    arguments = ["sentiment", "--url", measured.url, "--repository", measured.repository, "--report", report]
    arguments += ["--seconds", "0.3", "--warm-up", "0.1", "--rounds", "2", "--concurrency", "1,2", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_child", noting)
        patch.setattr(plan, "devices", lambda: ("cpu",))
        invoked = invoke(*arguments, "--rate", "20")
    assert invoked.exit_code == 0, invoked.output
    return invoked, json.loads(report.read_text())


def test_each_contender_runs_in_a_process_of_its_own_in_each_round(result, recorded):
    """ABC ABC: all of a group in each round, and no process measures two."""
    order = [(job.contender, job.round) for job, _ in recorded]
    kinds = ["pytorch", "onnxruntime", "grpc", "shared-memory"]
    assert order == [(kind, turn) for turn in (0, 1) for kind in kinds]
    processes = [found.process for _, found in recorded]
    assert len(set(processes)) == len(processes)
    assert os.getpid() not in processes


def test_the_report_holds_every_contender_under_every_load(result):
    """Threads, precision, memory and weights of each contender; the figures of each load, from all rounds."""
    [benchmark] = result[1]["benchmarks"]
    loads = [(1, None), (2, None), (None, 20.0)]
    assert [(one["concurrency"], one["rate"]) for one in _loads(benchmark, 0)] == loads
    for index, contender in enumerate(benchmark["contenders"]):
        assert _loads(benchmark, index) == _loads(benchmark, 0)
        assert contender["memory_bytes"] > contender["weight_bytes"] > 10_000
        assert contender["device"] == "cpu"
        assert contender["precision"] == "fp32"
        assert contender["threads"] == (1 if not contender["name"].startswith("Triton") else _cores())
    for measurement in benchmark["measurements"]:
        assert measurement["rounds"] == 2
        assert measurement["calls"] >= 2
        assert measurement["items_per_second"] > 0
        assert 0 < measurement["p50_ms"] <= measurement["p90_ms"] <= measurement["p99_ms"]
    assert benchmark["missing"] == {}
    assert re.match(r"triton 2\.\d+\.\d+ at 127\.0\.0\.1:\d+$", result[1]["server"])
    assert result[1]["machine"]["cores"] == _cores()


@pytest.mark.slow
def test_models_that_generate_have_tokens_and_a_first_one(measured, monkeypatch):
    """Tokens a second and the time to the first token, PyTorch in fp32 beside the entry's fp16; shared memory does not apply, and
    the report says why."""
    monkeypatch.setattr(plan, "devices", lambda: ("cpu",))
    report = run.bench(options_of(measured, "verses", rounds=1, concurrencies=(2,), rates=(5.0,)))
    [benchmark] = report.benchmarks
    precisions = {one.name: one.precision for one in benchmark.contenders}
    assert precisions == {"PyTorch": "fp32", "ONNX Runtime": "fp16", "Triton, gRPC": "fp16"}
    assert benchmark.missing == {"Triton, shared memory": "texts are answered on streams, which carry no shared memory"}
    for one in benchmark.measurements:
        assert one.tokens_per_second == pytest.approx(64 * one.items_per_second)
        assert 0 < one.first_token_ms < one.p99_ms
    [(_, columns, _), _] = bench_tables(report)
    assert columns[7:] == ("tokens/s", "first token ms", "memory MB", "of PyTorch")


def test_the_table_shows_them_relative_to_pytorch(result):
    """Progress is on stderr; stdout has a table for each model and ends with one line."""
    invoked = result[0]
    lines = invoked.stdout.strip().splitlines()
    columns = ["contender", "threads", "load", "p50 ms", "p90 ms", "p99 ms", "items/s"]
    assert re.split(r"  +", lines[1]) == [*columns, "memory MB", "of PyTorch"]
    assert re.match(r"PyTorch, fp32 +1 +1 at a time, mixed( +\d+\.\d){4} +\d+ +1\.00$", lines[2])
    assert sum(line.startswith("Triton, shared memory, fp32") for line in lines) == 3
    assert lines[-1].startswith("sentiment: Triton, ")
    assert "round 2 of 2: sentiment: Triton, gRPC" in invoked.stderr


@pytest.mark.slow
def test_who_cannot_take_part_is_missing_with_the_reason(measured, monkeypatch):
    """A source that is gone, a GPU that is not there, and a server that allows no shared memory do not end the run."""
    from hf2triton.serving import Server

    monkeypatch.setattr(plan, "devices", lambda: ("cpu", "cuda"))
    monkeypatch.setattr("hf2triton.bench.run.PATIENCE", 120)
    with Server(measured.repository) as restricted:
        options = options_of(
            restricted, "sentiment", source="./gone", rounds=1, contenders=("pytorch", "onnxruntime", "shared-memory")
        )
        report = run.bench(options)
    [benchmark] = report.benchmarks
    assert [one.name for one in benchmark.contenders if one.device == "cpu"] == ["ONNX Runtime"]
    assert "there is no folder ./gone" in benchmark.missing["PyTorch"]
    assert "shared memory" in benchmark.missing["Triton, shared memory"]
    if "cuda" not in devices():
        assert "has no CUDAExecutionProvider" in benchmark.missing["ONNX Runtime (cuda)"]
        assert "finds no GPU" in benchmark.missing["PyTorch (cuda)"]
    assert bench_tables(report)[-1][0] == "not measured"


@pytest.mark.slow
def test_torch_compile_is_measured_on_request(measured, monkeypatch):
    """The compiled checkpoint answers under load, of the kinds that answer at once and those that generate."""
    monkeypatch.setattr(plan, "devices", lambda: ("cpu",))
    for name in ("sentiment", "verses"):
        report = run.bench(options_of(measured, name, contenders=("pytorch",), compile=True, rounds=1))
        [benchmark] = report.benchmarks
        assert benchmark.missing == {}
        assert [one.name for one in benchmark.contenders] == ["PyTorch", "torch.compile"]


@pytest.mark.slow
def test_a_precision_is_exported_and_served_first(measured, monkeypatch):
    """--precision exports the entry's source with the entry's options and measures it on a server of its own."""
    monkeypatch.setattr(plan, "devices", lambda: ("cpu",))
    asked = {"contenders": ("onnxruntime", "grpc"), "concurrencies": (1,), "rounds": 1}
    report = run.bench(options_of(measured, "sentiment", precisions=("int8",), **asked))
    [benchmark] = report.benchmarks
    named = [(one.name, one.model, one.precision) for one in benchmark.contenders]
    assert named == [("ONNX Runtime", "sentiment-int8", "int8"), ("Triton, gRPC", "sentiment-int8", "int8")]
    assert benchmark.missing == {}
    assert measured.url not in report.server


def test_entries_of_one_source_share_its_pytorch(measured, monkeypatch):
    """Fronts of the same checkpoint are measured beside each other, PyTorch once; those of others are a group of their own."""
    monkeypatch.setattr(plan, "devices", lambda: ("cpu",))
    [frontend, verses] = frontends_named(options_of(measured), ["sentiment", "verses"])
    other = replace(frontend, name="sentiment-again")
    groups = groups_of(options_of(measured, compile=True), [frontend, verses, other])
    assert [[frontend.name for frontend in group.frontends] for group in groups] == [
        ["sentiment", "sentiment-again"],
        ["verses"],
    ]
    asked = [(job.contender, job.model) for job in groups[0].jobs]
    assert asked[:2] == [("pytorch", "sentiment"), ("compile", "sentiment")]
    assert asked[2:] == [
        (kind, name) for kind in ("onnxruntime", "grpc", "shared-memory") for name in ("sentiment", "sentiment-again")
    ]


def test_a_source_that_has_changed_is_not_passed_off_as_the_entry_s(measured):
    """Without --source PyTorch's checkpoint must still be the one that was exported."""
    from hf2triton.bench.job import Unavailable
    from hf2triton.bench.pytorch import load

    [frontend] = frontends_named(options_of(measured), ["sentiment"])
    checkpoint, part = load(frontend.source)
    assert (checkpoint.task.name, part.suffix) == ("text-classification", "")
    with pytest.raises(Unavailable, match="has changed since it was exported"):
        load(replace(frontend.source, digests={**frontend.source.digests, "config.json": "sha256:0"}))


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"contenders": ("tensorrt",)}, UnknownName, "known are pytorch, compile, onnxruntime, grpc, shared-memory"),
        ({"batch_sizes": (65,)}, UsageError, "takes at most 64 items a call, not 65"),
        ({"lengths": (129,)}, UsageError, "129 tokens is more than the 128"),
        ({"lengths": (1,)}, UsageError, "no text of this model has exactly 1 tokens"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_measured(measured, more, error, words):
    """Each refusal names the value and the limit."""
    with pytest.raises(error, match=re.escape(words)):
        groups_of(options_of(measured, **more), frontends_named(options_of(measured), ["sentiment"]))


def test_prompts_are_not_batched(measured):
    """A call of a model that generates is one prompt; prompts of an exact length leave room for the new tokens."""
    frontends = frontends_named(options_of(measured), ["verses"])
    with pytest.raises(UsageError, match="a call of verses is one prompt"):
        groups_of(options_of(measured, batch_sizes=(2,)), frontends)
    context = json.loads((frontends[0].folder / "front.json").read_text())["context"]
    with pytest.raises(UsageError, match=f"more than the {context - 64} that"):
        groups_of(options_of(measured, lengths=(context - 63,)), frontends)


def test_without_a_server_the_error_says_so(measured):
    """Nothing is measured when nobody answers, the model is not served, or it is another one than the repository's."""
    asked = options_of(measured, "sentiment")
    with pytest.raises(ConnectionFailed, match=r"no Triton server answers at 127.0.0.1:1"):
        run.bench(replace(asked, url="127.0.0.1:1"))
    with pytest.raises(RepositoryError, match="no entry 'unknown'"):
        run.bench(replace(asked, names=("unknown",)))
    invoked = invoke("sentiment", "--url", "127.0.0.1:1", "--repository", measured.repository)
    assert invoked.exit_code == 1
    assert "no Triton server answers" in invoked.stderr
    with pytest.raises((RepositoryError, ModelNotFound)):
        run.bench(replace(asked, names=("verses",), repository=_renamed(measured.repository)))


@pytest.mark.parametrize(
    "arguments", [["--concurrency", "0"], ["--length", "long"], ["--rate", "inf"], ["--precision", "fp8"]]
)
def test_lists_are_checked(arguments):
    """A list with a value that cannot be is wrong usage."""
    assert invoke("sentiment", *arguments).exit_code == 2


def test_texts_have_exactly_as_many_tokens_as_asked(measured):
    """Special tokens count; the texts differ; one length after the other."""
    from tokenizers import Tokenizer

    for name, column, lengths in (("sentiment", "text", (3, 16, 128)), ("verses", "text_input", (1, 17, 64))):
        frontends = frontends_named(options_of(measured), [name])
        [group] = groups_of(options_of(measured, lengths=(None, *lengths)), frontends)
        tokenizer = Tokenizer.from_file(str(frontends[0].folder / "tokenizer.json"))
        made = group.jobs[0].of_length
        assert list(made) == [str(length) for length in lengths]
        for length in lengths:
            assert {len(tokenizer.encode(text)) for text in made[str(length)][column]} == {length}
        assert len(set(made[str(lengths[-1])][column])) > 4


def test_batches_ask_for_each_item_as_often():
    """Whatever the batch size, each item is in as many batches as a batch has items, in an order that is always the same."""
    items = {"text": tuple("abcdefg"), "text_pair": tuple("ABCDEFG")}
    for size in (1, 3, 20):
        batches = batches_of(items, size)
        texts = [text for batch in batches for text in batch["text"]]
        assert sorted(texts) == sorted("abcdefg" * size)
        assert all([text.upper() for text in batch["text"]] == batch["text_pair"] for batch in batches)
        assert batches == batches_of(items, size)
    assert [batch["text"][0] for batch in batches_of(items, 1)] != list("abcdefg")


def test_the_memory_of_a_served_model_is_its_process_s(measured):
    """Found by the port that its server listens on; unknown of other servers, models, and graphs that have no process."""
    port = measured.ports.grpc
    assert memory.served_bytes(port, "sentiment", False) > 20e6
    assert memory.served_bytes(port, "sentiment", True) is None
    assert memory.served_bytes(port, "unknown", False) is None
    assert memory.served_bytes(1, "sentiment", False) is None
    assert memory.is_here(measured.url)
    assert memory.is_here("localhost:8001")
    assert not memory.is_here("192.0.2.1:8001")
    assert not memory.is_here("no-such-host.invalid:8001")


def test_devices_can_be_picked(measured):
    """Those in process are measured where they were told to be; what is served, where it is."""
    options = options_of(measured, "sentiment", devices=("cuda",))
    [group] = groups_of(options, frontends_named(options, options.names))
    assert {(job.contender, job.device) for job in group.jobs} == {
        ("pytorch", "cuda"),
        ("onnxruntime", "cuda"),
        ("grpc", "cpu"),
        ("shared-memory", "cpu"),
    }


def test_loads_are_told_in_a_few_words():
    """As the table shows them."""
    assert in_words(Load(1, None, 8)) == "8 at a time, mixed"
    assert in_words(Load(4, 128, None, 12.5)) == "12.5/s, batches of 4, 128 tokens"


def test_open_loops_have_no_speed_of_their_own(result):
    """Where the rate is given, items a second say nothing of a contender."""
    from hf2triton_client.loadgen.results import Benchmark, Contender, Measurement

    [first, *_] = result[1]["benchmarks"]
    measurements = [Measurement(**{**one, "load": Load(**one["load"])}) for one in first["measurements"]]
    contenders = tuple(Contender(**one) for one in first["contenders"])
    benchmark = Benchmark("", "", 2, 0.3, contenders, tuple(measurements))
    for one in measurements:
        speed = relative(benchmark, one)
        assert (speed is None) == (one.load.rate is not None)
        if contenders[one.contender].name == "PyTorch" and speed is not None:
            assert speed == 1.0


def _loads(benchmark, contender):
    return [one["load"] for one in benchmark["measurements"] if one["contender"] == contender]


def _cores():
    return len(os.sched_getaffinity(0))


def _renamed(repository: Path) -> Path:
    return repository.parent / "elsewhere"
