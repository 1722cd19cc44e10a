"""The entry of a model that generates: its config, its settings and its code stand alone."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format
from safetensors.numpy import load_file
from transformers import AutoTokenizer
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.core.options import ExportOptions
from hf2triton.export import pipeline
from hf2triton.export.genai_config import genai_files
from hf2triton.repository import add_entry as publishing
from hf2triton.repository.decoder_frontend import decoder_frontend
from hf2triton.triton_models.generation.settings import Settings
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import compare_greedy
from hf2triton_client.transport.served_model import FORMAT, PARAMETER

from ...support import TEXTS
from ..verses import VERSES
from .without_triton import ALONE, STUB

PUBLISHED = publishing.publish


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A staged entry of the verses, and the version that was published from it."""
    staged_entries, repository = [], tmp_path_factory.mktemp("front") / "model_repository"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "publish", lambda given: staged_entries.extend(given) or PUBLISHED(given))
        entry = pipeline.export(ExportOptions(str(VERSES), "verses", repository=repository)).entry
    assert entry.paths == (repository / "verses",)
    return staged_entries[0], repository / "verses"


@pytest.fixture(scope="module")
def staged(exported):
    return exported[0]


@pytest.fixture(scope="module")
def version(exported):
    """The folder of version 1."""
    return exported[1] / "1"


def frontend_of(staged, generation=None, shares_buffer=None, **options):
    """The frontend of a staged entry with other options."""
    if generation is not None:
        staged = replace(staged, checkpoint=replace(staged.checkpoint, generation=generation))
    if shares_buffer is not None:
        stored = replace(staged.stored, graph=replace(staged.stored.graph, shares_buffer=shares_buffer))
        staged = replace(staged, stored=stored, more=genai_files(staged.checkpoint, stored))
    return decoder_frontend(replace(staged, options=replace(staged.options, **options)), 7, "sha256:0")


def parameters_of(config):
    return {name: value.string_value for name, value in config.parameters.items() if name != PARAMETER}


def told_to_clients(config):
    return json.loads(config.parameters[PARAMETER].string_value)


def test_the_config_is_that_of_a_decoupled_model(exported):
    """No batches, which the engine makes itself, one instance, as the slots are its, and what Triton's generate extension
    sends and takes."""
    config = text_format.Parse((exported[1] / "config.pbtxt").read_text(), pb.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("verses", "python", 0)
    assert config.model_transaction_policy.decoupled
    assert not config.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, pb.ModelInstanceGroup.KIND_CPU)]
    assert list(config.version_policy.specific.versions) == [1]
    assert [(value.name, value.data_type, list(value.dims), value.optional) for value in config.input] == [
        ("text_input", pb.TYPE_STRING, [1], False),
        ("stream", pb.TYPE_BOOL, [1], True),
        ("sampling_parameters", pb.TYPE_STRING, [1], True),
        ("exclude_input_in_output", pb.TYPE_BOOL, [1], True),
    ]
    assert [(value.name, value.data_type, list(value.dims)) for value in config.output] == [
        ("text_output", pb.TYPE_STRING, [-1]),
        ("finish_reason", pb.TYPE_STRING, [-1]),
        ("num_input_tokens", pb.TYPE_INT32, [1]),
        ("num_output_tokens", pb.TYPE_INT32, [-1]),
        ("token_ids", pb.TYPE_INT32, [-1, -1]),
        ("prompt_logprobs", pb.TYPE_FP32, [-1]),
        ("fingerprint", pb.TYPE_INT64, [1]),
    ]


def test_clients_are_told_what_they_need(exported):
    """Task, limits, slots, inputs and outputs, under the names that the client reads."""
    config = text_format.Parse((exported[1] / "config.pbtxt").read_text(), pb.ModelConfig())
    told = told_to_clients(config)
    expected = {"format": FORMAT, "task": "text-generation", "family": "gpt2", "precision": "fp16", "id2label": {}}
    assert {name: told[name] for name in expected} == expected
    assert (told["problem_type"], told["max_length"], told["max_bytes"]) == (None, 256, 1 << 20)
    assert told["inputs"] == {value.name: not value.optional for value in config.input}
    assert set(told["outputs"]) == {value.name for value in config.output}
    assert told["generation"] == {"slots": 8, "defaults": {}}
    assert told["preprocessing"].startswith("sha256:")


@pytest.mark.parametrize(
    ("generation", "defaults"),
    [
        ({}, {}),
        ({"eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 1, "use_cache": True}, {}),
        (
            {"do_sample": True, "temperature": 0.7, "top_k": 0, "max_new_tokens": 40, "stop_strings": ["\n", "é"]},
            {"do_sample": True, "temperature": 0.7, "top_k": 0, "max_new_tokens": 40, "stop": ["\n", "é"]},
        ),
        (
            {"do_sample": False, "temperature": 1.0},
            {"do_sample": False, "temperature": 1.0},
        ),  # set, although as by default
    ],
)
def test_the_checkpoints_settings_are_the_defaults(staged, generation, defaults):
    """Clients are told those that a generation config sets, under the names of requests; the frontend reads all of it."""
    frontend = frontend_of(staged, generation)
    assert told_to_clients(frontend.config)["generation"]["defaults"] == defaults
    assert frontend.settings.generation == generation
    assert Settings.parse(json.dumps(defaults), Settings()) == Settings.of_checkpoint(generation)


def test_operators_may_change_what_the_frontend_reads_from_the_config(staged, version):
    """Each parameter that the front asks for is there, as an integer, with what the options say."""
    settings = json.loads((version / "front.json").read_text())
    frontend = frontend_of(staged)
    assert set(settings["parameters"]) == set(frontend.settings.parameters) == set(parameters_of(frontend.config))
    expected = {"slots": 8, "max_length": 0, "max_queue": 256, "prefill_chunk": 64, "intra_op_thread_count": 0}
    assert {name: int(value) for name, value in parameters_of(frontend.config).items()} == expected
    other = frontend_of(staged, max_batch_size=3, threads=2, device="cuda")
    assert {name: int(value) for name, value in parameters_of(other.config).items()} == expected | {
        "slots": 3,
        "intra_op_thread_count": 2,
    }
    assert told_to_clients(other.config)["generation"]["slots"] == 3
    assert [(group.count, group.kind) for group in other.config.instance_group] == [(1, pb.ModelInstanceGroup.KIND_GPU)]
    assert list(other.config.version_policy.specific.versions) == [7]


@pytest.mark.parametrize("in_place", [True, False])
def test_the_cache_is_shared_where_the_graph_allows_it(staged, in_place):
    """The frontend and onnxruntime-genai are told the same of past and present."""
    frontend = frontend_of(staged, shares_buffer=in_place)
    assert frontend.settings.in_place is in_place
    genai = json.loads(frontend.more["genai_config.json"])
    assert genai["search"]["past_present_share_buffer"] is in_place
    assert genai["model"]["decoder"]["filename"] == frontend.settings.graph == "model.onnx"
    assert tuple(map(int, frontend.settings.onnxruntime.split("."))) >= (1, 18)


def test_a_version_has_all_it_needs(version):
    """Graph, tokenizer, code and proof lie in the version's folder; the manifest has the digest of each file."""
    manifest = json.loads((version / "manifest.json").read_text())
    found = {str(path.relative_to(version)) for path in version.rglob("*") if path.is_file()}
    assert set(manifest["files"]) | {"manifest.json"} == found
    assert {
        "model.onnx",
        "tokenizer.json",
        "tokenizer_config.json",
        "genai_config.json",
        "front.json",
        "model.py",
    } <= found
    assert {
        "parameters.py",
        "generation/scheduler.py",
        "generation/response_sender.py",
        "generation/__init__.py",
    } <= found
    assert not {"preprocessors.py", "executors.py"} & found  # of other frontends
    assert manifest["parity"]["passed"] is True
    assert manifest["serving"] == {
        "device": "cpu",
        "runner": "inprocess",
        "max_batch_size": 8,
        "memory": None,
        "call_price_tokens": None,
        "graph_config": None,
    }
    assert {name.split(".")[-2] for name in load_file(version / "baseline.safetensors")} == {
        "token_ids",
        "top_ids",
        "top_logits",
    }


def test_nothing_tells_of_the_machine(version):
    """Not the checkpoint's folder, nor that of the repository, in no file but the manifest and the baseline's description,
    which name the source as it was given."""
    for path in version.rglob("*"):
        if path.is_file() and path.name not in ("manifest.json", "baseline.json"):
            content = path.read_bytes()
            assert str(VERSES).encode() not in content, path
            assert str(version.parents[1]).encode() not in content, path


def test_the_folder_is_a_tokenizer_of_transformers(version):
    """Other runtimes load it, and decode what it encodes."""
    served, own = AutoTokenizer.from_pretrained(version), AutoTokenizer.from_pretrained(VERSES)
    for text in TEXTS:
        assert served(text)["input_ids"] == own(text)["input_ids"]
        assert served.decode(served(text)["input_ids"]) == text
    assert served.eos_token_id == own.eos_token_id


def test_a_version_runs_alone(exported, version, tmp_path):
    """Its code finds what it imports in its own folder or among the few packages that servers have, and gives PyTorch's texts."""
    (tmp_path / "triton_python_backend_utils.py").write_text(STUB)
    texts = json.loads((version / "baseline.json").read_text())["texts"]
    config = text_format.Parse((exported[1] / "config.pbtxt").read_text(), pb.ModelConfig())
    parameters = {name: {"string_value": value} for name, value in parameters_of(config).items()}
    code = ALONE.format(
        blocked=("hf2triton", "hf2triton_client", "torch", "transformers", "onnx", "tritonclient"),
        stub=str(tmp_path),
        entry=str(exported[1]),
        parameters=json.dumps(parameters),
    )
    asked = [*zip(texts["text_input"], texts["sampling_parameters"], strict=True), ("x", '{"temprature": 1}')]
    result = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked), capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert result.returncode == 0, result.stderr
    *answers, refused = json.loads(result.stdout.splitlines()[-1])
    assert refused[0] == "INVALID_ARG"
    assert "temprature" in refused[1]
    recorded, tokenizer = Baseline.load(version / "baseline.safetensors"), AutoTokenizer.from_pretrained(version)
    expected = recorded.greedy()
    served = [np.array(tokens) for _, [tokens] in answers]
    assert compare_greedy("texts", zip(expected, served, strict=True), recorded.tolerances["token_ids"]).passed
    assert [text for text, _ in answers] == [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in served]
    assert "MiB for keys and values (8 slots of 256 tokens" in result.stdout
