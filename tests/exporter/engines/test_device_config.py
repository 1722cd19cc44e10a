"""GPU configs: every key is one that the server or the backend reads, in the place where it reads it, with a value it takes.

None of it was run on a GPU: this table is what stands between a typing error and a model that does not load there.
"""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.core.options import ExportOptions
from hf2triton.core.types import Graph, GraphInput
from hf2triton.engines import ENGINES
from hf2triton.engines.base import MAX_TOKENS, Served
from hf2triton.engines.common.backend_keys import BACKEND, KEYS, OVERWRITTEN
from hf2triton.engines.common.resolve import resolve
from hf2triton.engines.cuda import CUDA, PARAMETERS
from hf2triton.engines.tensorrt import ENGINE_CACHE, TENSORRT
from hf2triton.errors import UsageError
from hf2triton.graph.passes.engine_name import name_by_content
from hf2triton.repository import add_entry as publishing
from hf2triton.repository import transaction
from hf2triton.repository.encoder_frontend import encoder_frontend
from hf2triton.serving import Server
from hf2triton.tasks import TASKS, find_task
from hf2triton.triton_models.batch_planner import Limits, plan
from hf2triton_client import pipeline

from ...conftest import export_asset
from ..graph.tiny import op, tiny

#: What a graph's config may have at its top: triton-inference-server/common/protobuf/model_config.proto, ModelConfig.
FIELDS = {
    "name",
    "backend",
    "max_batch_size",
    "version_policy",
    "input",
    "output",
    "dynamic_batching",
    "instance_group",
    "optimization",
    "parameters",
    "model_warmup",
}
CASES = {
    "cuda": ("bert", "text-classification", "cuda", "fp16"),
    "tensorrt": ("bert", "fill-mask", "tensorrt", "fp16"),
    "images": ("vit", "image-classification", "tensorrt", "fp32"),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Case -> its staged entry and the repository it was published in."""
    found, original = {}, publishing.publish
    for case, (family, task, device, precision) in CASES.items():
        repository, staged_entries = tmp_path_factory.mktemp(case) / "model_repository", []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                publishing,
                "publish",
                lambda given, staged_entries=staged_entries: staged_entries.extend(given) or original(given),
            )
            export_asset(repository, family, task, precision, name=case, device=device, runner=None, gpus=(0, 1))
        found[case] = staged_entries[0], repository
    return found


def read(path):
    return text_format.Parse(path.read_text(), pb.ModelConfig())


def graph_config_of(exported, case):
    return read(exported[case][1] / f"{case}_model" / "config.pbtxt")


def accelerators_of(config):
    own = config.optimization.execution_accelerators
    assert not own.cpu_execution_accelerator
    return {one.name: dict(one.parameters) for one in own.gpu_execution_accelerator}


def keys_of(config):
    for name, value in config.parameters.items():
        yield ("parameters", name), value.string_value
    for name, values in accelerators_of(config).items():
        for key, value in values.items():
            yield (name, key), value


@pytest.mark.parametrize("case", CASES)
def test_every_key_is_read_where_it_stands(exported, case):
    """Each is in the table, with a value that its preprocessor takes; what is there twice would be read once."""
    config = graph_config_of(exported, case)
    assert {field.name for field, _ in config.ListFields()} <= FIELDS
    found = dict(keys_of(config))
    assert set(found) <= set(KEYS)
    for place, value in found.items():
        assert KEYS[place].takes(value), (place, value, KEYS[place])
    assert not OVERWRITTEN & {key for place, key in found if place != "parameters"}
    assert {setting.key for setting in PARAMETERS} <= OVERWRITTEN
    assert text_format.Parse(text_format.MessageToString(config), pb.ModelConfig()) == config


def test_every_key_that_can_be_written_is_written_in_some_case(exported):
    """So that none of ours stays unseen by the test above."""
    written = {place for case in CASES for place, _ in keys_of(graph_config_of(exported, case))}
    ours = {("parameters", setting.key) for setting in PARAMETERS} | {("parameters", "intra_op_thread_count")}
    for place, settings in (("cuda", CUDA), ("tensorrt", TENSORRT)):
        ours |= {(place, setting.key) for setting in settings}
    assert written == ours


def test_every_key_of_the_table_has_a_source():
    """Who reads it; keys of accelerators that are overwritten are none of them."""
    assert all(BACKEND in key.source for key in KEYS.values())
    assert not {(place, name) for place, name in KEYS if place != "parameters" and name in OVERWRITTEN}
    assert not KEYS["parameters", "intra_op_thread_count"].takes("")
    assert not KEYS["tensorrt", "precision_mode"].takes("fp16")


def test_each_device_has_its_providers_and_gpus(exported):
    """CUDA alone, or TensorRT before it; an instance on each GPU asked for; two frontends for each of those."""
    assert list(accelerators_of(graph_config_of(exported, "cuda"))) == ["cuda"]
    assert list(accelerators_of(graph_config_of(exported, "tensorrt"))) == ["tensorrt", "cuda"]
    for case in CASES:
        (group,) = graph_config_of(exported, case).instance_group
        assert (group.count, group.kind, list(group.gpus)) == (1, pb.ModelInstanceGroup.KIND_GPU, [0, 1])
        (frontends,) = read(exported[case][1] / case / "config.pbtxt").instance_group
        assert (frontends.count, frontends.kind) == (4, pb.ModelInstanceGroup.KIND_CPU)


def test_without_gpus_all_are_used(exported):
    """The list is left out then, which for Triton means every GPU; two frontends are there whatever their number."""
    staged = exported["cuda"][0]
    frontend = encoder_frontend(replace(staged, options=replace(staged.options, gpus=None, instances=2)), 1, "sha256:0")
    (group,) = frontend.graph_config.instance_group
    assert (group.count, list(group.gpus)) == (2, [])
    assert frontend.config.instance_group[0].count == 4


def test_precision_is_what_was_proved(exported):
    """fp16 graphs may use fp16, with exact norms; fp32 ones neither fp16 nor TF32, which fp32 has by default."""
    half = accelerators_of(graph_config_of(exported, "tensorrt"))
    assert (half["tensorrt"]["precision_mode"], half["tensorrt"]["trt_layer_norm_fp32_fallback"]) == ("FP16", "1")
    assert half["cuda"] == {"enable_skip_layer_norm_strict_mode": "1"}
    full = accelerators_of(graph_config_of(exported, "images"))
    assert full["tensorrt"]["precision_mode"] == "FP32"
    assert "trt_layer_norm_fp32_fallback" not in full["tensorrt"]
    assert full["cuda"] == {"use_tf32": "0", "cudnn_conv_use_max_workspace": "1"}


def test_tensorrt_runs_graphs_of_standard_ops(exported):
    """No op of another domain is left, which TensorRT would not take."""
    for case in ("tensorrt", "images"):
        model = onnx.load(exported[case][1] / f"{case}_model" / "1" / "model.onnx")
        assert {node.domain for node in model.graph.node} == {""}
    fused = onnx.load(exported["cuda"][1] / "cuda_model" / "1" / "model.onnx")
    assert "com.microsoft" in {node.domain for node in fused.graph.node}


def shapes_of(values, end):
    text = values[f"trt_profile_{end}_shapes"]
    return {
        name: tuple(map(int, shape.split("x"))) for name, _, shape in (one.partition(":") for one in text.split(","))
    }


def test_the_profile_holds_every_call_that_frontends_make(exported):
    """For every input one range, of the graph's rank; whatever the planner makes of texts up to the limit lies within."""
    config = graph_config_of(exported, "tensorrt")
    values = accelerators_of(config)["tensorrt"]
    least, usual, most = (shapes_of(values, end) for end in ("min", "opt", "max"))
    assert set(least) == set(usual) == set(most) == {tensor.name for tensor in config.input}
    for name in most:
        assert len(least[name]) == 2
        assert all(a <= b <= c for a, b, c in zip(least[name], usual[name], most[name], strict=True))
    assert most["input_ids"] == (64, 128)
    frontend = json.loads((exported["tensorrt"][1] / "tensorrt" / "1" / "front.json").read_text())
    lengths = list(np.random.default_rng(0).integers(1, 129, 500))
    for group in plan(lengths, Limits(**frontend["limits"])):
        assert len(group) <= most["input_ids"][0]
    images = accelerators_of(graph_config_of(exported, "images"))["tensorrt"]
    assert shapes_of(images, "min") == {"pixel_values": (1, *shapes_of(images, "max")["pixel_values"][1:])}
    assert shapes_of(images, "max")["pixel_values"][0] == 64


def test_engines_of_other_weights_have_another_name(exported):
    """onnxruntime finds cached engines by the graph's name, whatever its weights: the name tells them."""
    _, repository = exported["tensorrt"]
    values = accelerators_of(graph_config_of(exported, "tensorrt"))["tensorrt"]
    assert values["trt_engine_cache_path"] == values["trt_timing_cache_path"] == ENGINE_CACHE
    name = onnx.load(repository / "tensorrt_model" / "1" / "model.onnx").graph.name
    assert re.fullmatch("hf2triton_[0-9a-f]{32}", name)
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    changed = weights + np.eye(2, 3, dtype=np.float32)
    same, again, other, wider = (
        name_by_content(tiny([op("MatMul", "x w", "y")], {"w": own}, {"x": ("batch", len(own))})).model.graph.name
        for own in (weights, weights.copy(), changed, weights.reshape(3, 2))
    )
    assert same == again
    assert len({same, other, wider, name}) == 4


@pytest.mark.parametrize("case", CASES)
def test_warm_up_goes_to_the_corners(exported, case):
    """One row and the most, the shortest and the longest, every input listed, and the files it reads are there in full."""
    config = graph_config_of(exported, case)
    folder = exported[case][1] / f"{case}_model" / "warmup"
    corners = set()
    for sample in config.model_warmup:
        assert set(sample.inputs) == {tensor.name for tensor in config.input}
        corners.add((sample.batch_size, *(sample.inputs["input_ids"].dims if case != "images" else ())))
        for name, value in sample.inputs.items():
            if value.input_data_file:
                mask = np.frombuffer((folder / value.input_data_file).read_bytes(), np.int64)
                assert (name, mask.tolist()) == ("attention_mask", [1] * value.dims[0])
            else:
                assert value.zero_data
    assert corners >= ({(1,), (64,)} if case == "images" else {(1, 8), (1, 128), (64, 8), (64, 128)})


TEXT = (GraphInput("input_ids", "INT64", ("batch", "sequence")),)


def served(device, rows, max_length):
    options = ExportOptions("x", "x", device=device, max_batch_size=rows)
    return Served(options, ENGINES[options.device], Graph(None, TEXT, (), "standard"), max_length, None)


def test_cuda_is_warmed_up_with_what_one_call_may_hold():
    """CUDA's calls have at most 16,384 tokens; TensorRT's engine is built for the corner of its profile all the same."""
    pairs = {
        device: [tuple(one.values())[:2] for one in served(device, 256, 512).corners] for device in ("cuda", "tensorrt")
    }
    assert pairs["cuda"] == [(1, 8), (1, 512), (256, 8), (256, 64), (32, 512)]
    assert pairs["tensorrt"] == [(1, 8), (1, 512), (256, 8), (256, 512)]


@pytest.mark.parametrize("rows", [1, 3, 64, 1000, 100_000])
@pytest.mark.parametrize("max_length", [1, 5, 77, 512, 8192])
def test_limits_of_any_size_give_a_profile_and_corners(rows, max_length):
    """Whatever the limits: profiles grow from end to end, and corners lie within."""
    own = served("tensorrt", rows, max_length)
    least, usual, most = own.profile
    assert all(1 <= least[axis] <= usual[axis] <= most[axis] for axis in most)
    assert (most["batch"], most["sequence"]) == (rows, max_length)
    for device in ("cuda", "tensorrt"):
        corners = served(device, rows, max_length).corners
        assert len(corners) == len({tuple(one.items()) for one in corners})
        for one in corners:
            assert device == "tensorrt" or one["batch"] * min(one["sequence"], 8) <= MAX_TOKENS
            assert 1 <= one["batch"] <= rows
            assert 1 <= one["sequence"] <= max_length


def test_the_queue_waits_before_frontends_alone(exported):
    """There texts of all lengths meet; the graph's calls are planned, and go at once. Both queues have an end."""
    staged = exported["cuda"][0]
    options = replace(staged.options, queue_delay=700, priority_levels=5, max_queue=99)
    frontend = encoder_frontend(replace(staged, options=options), 1, "sha256:0")
    batching = frontend.config.dynamic_batching
    assert (batching.max_queue_delay_microseconds, list(batching.preferred_batch_size)) == (700, [32, 64])
    assert (batching.priority_levels, batching.default_priority_level) == (5, 3)
    assert batching.default_queue_policy.max_queue_size == 99
    graph = frontend.graph_config.dynamic_batching
    assert (graph.max_queue_delay_microseconds, list(graph.preferred_batch_size), graph.priority_levels) == (0, [], 0)
    assert graph.default_queue_policy.max_queue_size == 99


def test_answers_are_cached_where_all_ask_for_the_same(exported):
    """By default on a GPU, before the graph's model never; and not where callers choose among outputs, which Triton's key leaves
    out."""
    assert read(exported["cuda"][1] / "cuda" / "config.pbtxt").response_cache.enable
    assert read(exported["images"][1] / "images" / "config.pbtxt").response_cache.enable
    assert not read(
        exported["tensorrt"][1] / "tensorrt" / "config.pbtxt"
    ).response_cache.enable  # fill-mask has answers too
    settled = {
        name: resolve(ExportOptions("x", "x", device="cuda"), task).response_cache for name, task in TASKS.items()
    }
    assert {name for name, cached in settled.items() if not cached} == {
        "token-classification",
        "question-answering",
        "fill-mask",
        "image-feature-extraction",
        "sparse-embedding",
        "text-generation",
    }
    both = ExportOptions("x", "x", device="cuda", token_embeddings=True)
    assert resolve(both, find_task("sentence-similarity")).response_cache is False
    with pytest.raises(UsageError, match="--token-embeddings is for sentence-similarity; feature-extraction has no"):
        resolve(both, find_task("feature-extraction"))
    assert resolve(ExportOptions("x", "x"), find_task("ner")).response_cache is False
    assert resolve(ExportOptions("x", "x", response_cache=True), find_task("sentiment-analysis")).response_cache is True


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("text-classification", {"device": "tensorrt", "attention": "fused"}, "with standard attention, not fused"),
        ("text-classification", {"device": "tensorrt", "runner": "inprocess"}, "runs with --runner bls, not inprocess"),
        ("text-classification", {"device": "tensorrt", "precision": "int8"}, "exported in fp32, fp16, not int8"),
        ("text-classification", {"device": "tensorrt", "release": "24.05"}, "needs Triton 24.08 or later, not 24.05"),
        ("text-generation", {"device": "tensorrt"}, "served with --device cpu or cuda, not tensorrt"),
        ("text-generation", {"device": "cuda", "gpus": (0, 1)}, "runs on one GPU"),
        ("text-generation", {"priority_levels": 2}, "has no --priority-levels"),
        ("text-generation", {"response_cache": True}, "a text may be sampled"),
        ("token-classification", {"response_cache": True}, "callers ask for different outputs"),
        ("text-classification", {"gpus": (0,)}, "--gpus is for --device cuda or tensorrt, not cpu"),
        ("text-classification", {"gpu_memory": 1}, "--gpu-memory is for --device cuda or tensorrt, not cpu"),
        ("text-classification", {"device": "cuda", "gpus": (1, 1)}, "must be different numbers from 0 on.*not 1,1"),
        ("text-classification", {"queue_delay": -1}, "--queue-delay must be 0 to 1,000,000, not -1"),
        ("text-classification", {"priority_levels": 99}, "--priority-levels must be 0 to 16, not 99"),
        ("text-classification", {"max_queue": -1}, "--max-queue must be 0 to"),
    ],
)
def test_what_cannot_be_had_is_refused(task, options, message):
    """With the option, the value and what can be had instead."""
    with pytest.raises(UsageError, match=message):
        resolve(ExportOptions("x", "x", **options), find_task(task))


def test_an_older_release_is_told_only_what_it_reads(exported):
    """Its backend would refuse an accelerator `cuda`; the provider's parameters it reads."""
    staged = exported["cuda"][0]
    frontend = encoder_frontend(replace(staged, options=replace(staged.options, release="24.05")), 1, "sha256:0")
    assert accelerators_of(frontend.graph_config) == {}
    assert frontend.graph_config.parameters["arena_extend_strategy"].string_value == "1"


def test_the_embedded_triton_serves_the_same_repository_on_the_cpu(exported, tmp_path):
    """Without a GPU, with nothing changed but the kind: warm-up at the corners, both frontends, and the entry's own proof
    pass."""
    repository = tmp_path / "model_repository"
    shutil.copytree(exported["tensorrt"][1], repository)
    path = repository / "tensorrt_model" / "config.pbtxt"
    config = read(path)
    del config.instance_group[:]
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    path.write_text(text_format.MessageToString(config))
    with Server(repository) as server, pipeline(model="tensorrt", url=server.url) as fill:
        answers = fill([f"the movie was [MASK] {'good ' * count}" for count in range(40)], top_k=1)
    assert len(answers) == 40


def test_a_second_version_may_be_warmed_up_otherwise(exported, tmp_path):
    """Files that the first version had no need of are added to those of the first, and taken back where publishing fails."""
    repository = tmp_path / "model_repository"
    staged = exported["cuda"][0]
    path = exported["cuda"][1] / "cuda_model" / "1" / "model.onnx"
    staged = replace(
        staged,
        options=replace(staged.options, repository=repository),
        stored=replace(staged.stored, files={"model.onnx": path}),
    )
    publishing.publish([staged])
    folder = repository / "cuda_model"
    before = {one.name for one in (folder / "warmup").iterdir()}
    wider = replace(staged, memory=replace(staged.memory, max_batch_size=1024))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "carry_out", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publishing.publish([wider])
    assert {one.name for one in (folder / "warmup").iterdir()} == before
    publishing.publish([wider])
    config = read(folder / "config.pbtxt")
    named = {value.input_data_file for sample in config.model_warmup for value in sample.inputs.values()} - {""}
    assert {name.partition("-")[0] for name in named - before} == {"ones_16"}
    assert {one.name for one in (folder / "warmup").iterdir()} == before | named
