"""config.pbtxt: complete, readable by Triton's own protobuf, and equal to what is committed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.build.build import build
from hf2triton.build.file import read_build_file
from hf2triton.build.plan import plan_build
from hf2triton.core.layout import frontend_name
from hf2triton.demo.examples import DECLARED
from hf2triton.tasks import find_task

from ...conftest import export_asset

REFERENCE = DECLARED.parent


def read(path: Path) -> pb.ModelConfig:
    return text_format.Parse(path.read_text(), pb.ModelConfig())


def configs(repository: Path) -> list[pb.ModelConfig]:
    return [read(path) for path in sorted(repository.glob("*/config.pbtxt"))]


def calls_another(config: pb.ModelConfig) -> bool:
    """Whether it is a frontend whose graph is a model of its own."""
    return config.backend == "python" and "-bls" in config.name


def generates(config: pb.ModelConfig) -> bool:
    """Whether it is a model with an engine, which batches and warms up by itself."""
    return config.model_transaction_policy.decoupled


def test_every_config_is_complete(repository):
    """Each says its backend, batching, instance count, threads, a bounded queue and a version policy."""
    found = configs(repository)
    assert len(found) > 16
    assert sum(map(generates, found)) == 3
    for config in found:
        assert config.backend in ("python", "onnxruntime")
        if generates(config):
            numbers = {name: value.string_value for name, value in config.parameters.items() if name != "hf2triton"}
            expected = {"slots": "8", "max_length": "0", "max_queue": "256", "prefill_chunk": "64"}
            assert numbers == {**expected, "intra_op_thread_count": "0"}
            assert config.max_batch_size == 0
        else:
            assert config.max_batch_size == 64
            assert config.HasField("dynamic_batching")
            # a bound, a timeout or a priority would keep Triton from preparing a batch while another one runs
            assert not config.dynamic_batching.ListFields()
        assert [(group.count, group.kind) for group in config.instance_group] == [(1, pb.ModelInstanceGroup.KIND_CPU)]
        assert config.version_policy.WhichOneof("policy_choice") in ("specific", "latest")
        assert calls_another(config) or config.parameters["intra_op_thread_count"].string_value == "0"


def test_warm_up_lists_every_input(repository):
    """Triton refuses a warm-up sample that leaves an input out."""
    for config in configs(repository):
        if calls_another(config) or generates(config):
            continue
        assert config.model_warmup
        for sample in config.model_warmup:
            assert set(sample.inputs) == {tensor.name for tensor in config.input}


def test_outputs_are_those_of_the_task(repository):
    """Token classification answers what aggregation needs, spans and masks are decoded; other tasks give tensors alone."""
    for config in configs(repository):
        if config.backend != "python":
            continue
        settings = json.loads(config.parameters["hf2triton"].string_value)
        names = {tensor.name for tensor in config.output}
        assert set(settings["outputs"]) == names
        assert ("offsets" in names) == (settings["task"] == "token-classification")
        assert ("answers" in names) == (settings["task"] in ("question-answering", "fill-mask"))
        assert [tensor.name for tensor in config.input if not tensor.optional] == [
            name for name, required in settings["inputs"].items() if required
        ]


def test_cuda_puts_the_graph_on_the_gpu(tmp_path):
    """With --device cuda the graph is a model of its own with GPU instances, and lengths are padded to 8."""
    export_asset(tmp_path, "bert", "text-classification", "fp16", name="gpu", device="cuda", runner=None)
    graph, frontend = read(tmp_path / "gpu_model" / "config.pbtxt"), read(tmp_path / "gpu" / "config.pbtxt")
    assert graph.instance_group[0].kind == pb.ModelInstanceGroup.KIND_GPU
    assert frontend.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU
    assert json.loads((tmp_path / "gpu" / "1" / "front.json").read_text())["limits"]["round_to"] == 8


#: Entries of the reference repository, beside MiniLM: one of each other kind of frontend.
QUICK = ("clothes", "verses")


def build_reference(repository: Path, *names: str) -> set[str]:
    """Builds entries of the reference repository somewhere else; the names of their models."""
    declared = read_build_file(DECLARED, repository)
    chosen = {name: options for name, options in declared.entries.items() if not names or name in names}
    assert all(built.error is None for built in build(plan_build(replace(declared, entries=chosen))))
    return {path.parent.name for path in repository.glob("*/config.pbtxt")}


def assert_committed(repository: Path, name: str) -> None:
    assert (REFERENCE / name / "config.pbtxt").read_text() == (repository / name / "config.pbtxt").read_text()


def test_the_committed_configs_are_what_the_code_writes(minilm, tmp_path):
    """The reference models' configs in the project's repository are the ones that a build gives today."""
    assert_committed(minilm, "minilm")
    assert build_reference(tmp_path, *QUICK) == set(QUICK)
    for name in QUICK:
        assert_committed(tmp_path, name)


@pytest.mark.slow
def test_all_committed_configs_are_what_the_code_writes(tmp_path):
    """Of every model that the reference repository's file declares, and of no other."""
    names = build_reference(tmp_path)
    assert names == {path.parent.name for path in REFERENCE.glob("*/config.pbtxt")}
    for name in names:
        assert_committed(tmp_path, name)


def test_every_reference_model_has_its_config():
    """A config for each frontend that the file declares, and for nothing else."""
    declared = read_build_file(DECLARED)
    frontends = {
        frontend_name(name, endpoint)
        for name, one in declared.entries.items()
        for endpoint in find_task(one.task).endpoints
    }
    assert frontends == {path.parent.name for path in REFERENCE.glob("*/config.pbtxt")}
