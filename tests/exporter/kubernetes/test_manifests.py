"""Manifests keep to the engines' own schemas, and say what follows from the repository."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from hf2triton.cli import main
from hf2triton.engines.tensorrt import ENGINE_CACHE
from hf2triton.errors import UsageError
from hf2triton.kubernetes import TARGETS, ManifestOptions, manifests
from hf2triton.kubernetes.resources import MIB, need_of

from ...conftest import export_asset
from ...support import RECORDS

KSERVE = json.loads((RECORDS / "kserve.json").read_text(encoding="utf-8"))
#: Of the documents that KServe defines, their definition in its schema.
OF_KSERVE = {"ServingRuntime": "V1alpha1ServingRuntime", "InferenceService": "V1beta1InferenceService"}
#: The oldest and the newest Kubernetes that they were tried with.
VERSIONS = ("1.30", "1.37")
FORMS = {
    "one": {"names": ("sentiment",)},
    "all": {},
    "bucket": {"storage": "s3://models/texts"},
    "in the image": {"storage": "/models", "replicas": 1},
    "folder of a claim": {"storage": "pvc://claim/a/b", "gpus": 2, "name": "other"},
    "tls": {"tls": "triton-tls"},
    "mutual tls and a key": {"mutual_tls": "triton-tls", "control_key": "triton.control"},
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """`sentiment` and `verses` for a CPU, `quick` for a GPU: its graph is a model of its own."""
    folder = tmp_path_factory.mktemp("manifests") / "model_repository"
    export_asset(folder, "bert", "text-classification", "fp32", name="sentiment")
    export_asset(folder, "gpt2", "text-generation", "fp16", name="verses")
    export_asset(folder, "bert", "text-classification", "fp16", name="quick", device="cuda", runner=None)
    return folder


def made(target: str, repository: Path, **options) -> dict[str, dict]:
    """Kind -> the document."""
    documents = list(yaml.safe_load_all(manifests(target, ManifestOptions(repository, **options))))
    kinds = {document["kind"]: document for document in documents}
    assert len(kinds) == len(documents)
    return kinds


def server_of(documents: dict[str, dict]) -> tuple[dict, dict]:
    """The pod's spec and its container."""
    spec = documents["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    return spec, container


def require_kserve(document: dict) -> None:
    """Raises jsonschema.ValidationError where KServe's schema, and Kubernetes' for what it takes from there, is not kept."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.37.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    registry = Registry().with_resource("/api/_definitions.json", Resource(definitions, DRAFT7))
    schema = {**KSERVE, "$ref": f"#/$defs/{OF_KSERVE[document['kind']]}"}
    jsonschema.Draft7Validator(schema, registry=registry).validate(document)


def require_valid(document: dict) -> None:
    if document["kind"] in OF_KSERVE:
        require_kserve(document)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("form", FORMS)
def test_every_document_keeps_to_its_schema(repository, target, form):
    """Strictly: a key that Kubernetes or KServe does not know is an error."""
    for document in made(target, repository, **FORMS[form]).values():
        require_valid(document)


@pytest.mark.parametrize(
    ("target", "kind", "path"),
    [
        ("kubernetes", "Deployment", ("spec", "template", "spec", "containers", 0, "livenessProbe")),
        ("kubernetes", "HorizontalPodAutoscaler", ("spec",)),
        ("kserve", "ServingRuntime", ("spec", "containers", 0, "readinessProbe")),
        ("kserve", "InferenceService", ("spec", "predictor", "model")),
    ],
)
def test_the_schemas_see_mistakes(repository, target, kind, path):
    """A misspelt key is found, deep in a document, in those of KServe as well."""
    document = made(target, repository)[kind]
    place = document
    for step in path:
        place = place[step]
    place["misspelt"] = 1
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError), match="misspelt"):
        require_valid(document)


def test_kubernetes_gets_what_belongs_to_a_server(repository):
    """And all of it finds the same pods."""
    documents = made("kubernetes", repository)
    kinds = ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"]
    assert list(documents) == kinds
    pods = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == pods for selector in selectors)
    assert (
        documents["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == documents["Deployment"]["metadata"]["name"]
    )


def test_the_service_is_headless(repository):
    """Its name has every pod's address, which the client's round-robin needs."""
    assert made("kubernetes", repository)["Service"]["spec"]["clusterIP"] == "None"


def test_models_are_named(repository):
    """Fronts that were asked for, and the models that hold their graphs, so that nothing else of the folder is loaded."""
    _, container = server_of(made("kubernetes", repository, names=("verses", "quick")))
    loaded = [argument.partition("=")[2] for argument in container["args"] if argument.startswith("--load-model=")]
    assert loaded == ["verses", "quick", "quick_model"]


def test_gpus_follow_from_the_entries(repository):
    """Entries for a CPU get none and its image; one for a GPU brings a GPU, the other image and the metric of the autoscaler."""
    for names, gpus in ((("sentiment",), None), (("sentiment", "quick"), "1")):
        documents = made("kubernetes", repository, names=names)
        _, container = server_of(documents)
        assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
        assert container["image"] == f"hf2triton-server:{'gpu' if gpus else 'cpu'}"
        assert (ENGINE_CACHE in [mount["mountPath"] for mount in container["volumeMounts"]]) == bool(gpus)
        metrics = documents["HorizontalPodAutoscaler"]["spec"]["metrics"]
        followed = {metric["pods"]["metric"]["name"] for metric in metrics}
        assert ("nv_gpu_utilization" in followed) == bool(gpus)
        assert "nv_inference_pending_request_count" in followed


def test_a_gpu_entry_wants_one(repository):
    """It is told by name, with what to do."""
    with pytest.raises(UsageError, match="quick was exported for a GPU: --gpus"):
        made("kubernetes", repository, gpus=0)


def test_memory_follows_from_the_entries(repository):
    """More entries take more; keys and values of a decoder are counted exactly; a graph on a GPU takes its memory there."""
    asked = []
    for names in (("sentiment",), ("sentiment", "verses")):
        _, container = server_of(made("kubernetes", repository, names=names))
        assert container["resources"]["requests"] == container["resources"]["limits"]
        asked.append(int(container["resources"]["requests"]["memory"].removesuffix("Mi")))
    assert asked[1] > asked[0] > 1024
    decoder = json.loads((repository / "verses" / "1" / "genai_config.json").read_text())["model"]["decoder"]
    width = decoder["num_attention_heads"] * decoder["head_size"]
    fp16, slots, length = 2, 8, 256
    assert need_of(repository, "verses", 4).state == 2 * decoder["num_hidden_layers"] * width * slots * length * fp16
    graph = (repository / "quick_model" / "1" / "model.onnx").stat().st_size
    assert need_of(repository, "quick", 4).weights == graph
    assert need_of(repository, "quick", 4).gpu > graph
    assert need_of(repository, "sentiment", 4).gpu == 0
    assert need_of(repository, "sentiment", 4).host > 128 * MIB


def test_a_claim_is_mounted_read_only(repository):
    """At the place that the server is told, and the folder in it alone."""
    spec, container = server_of(made("kubernetes", repository, storage="pvc://claim/a/b"))
    [claim] = [volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == claim["name"]]
    assert claim["persistentVolumeClaim"] == {"claimName": "claim", "readOnly": True}
    assert (mount["subPath"], mount["readOnly"]) == ("a/b", True)
    assert container["args"][0] == f"--model-repository={mount['mountPath']}"


def test_only_a_bucket_is_let_out(repository):
    """Pods reach nothing else, and nothing at all where the models come from a claim."""
    for storage, out in (("gs://bucket", True), ("pvc://claim", False), ("/models", False)):
        documents = made("kubernetes", repository, storage=storage)
        assert bool(documents["NetworkPolicy"]["spec"]["egress"]) == out
        assert ("envFrom" in server_of(documents)[1]) == out


def test_kserve_finds_its_runtime(repository):
    """The service names the runtime, its format is one of the runtime's, and the storage is given as it is."""
    documents = made("kserve", repository, storage="s3://models/texts")
    model = documents["InferenceService"]["spec"]["predictor"]["model"]
    runtime = documents["ServingRuntime"]
    assert model["runtime"] == runtime["metadata"]["name"]
    formats = [(one["name"], one["version"]) for one in runtime["spec"]["supportedModelFormats"]]
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats
    assert model["storageUri"] == "s3://models/texts"
    assert model["args"][0] == "--model-repository=/mnt/models"
    [container] = runtime["spec"]["containers"]
    assert (container["name"], container["ports"][0]["name"]) == ("kserve-container", "grpc")


def test_kserve_fetches_nothing_that_the_image_has(repository):
    """A path in the image is what the server reads."""
    model = made("kserve", repository, storage="/models")["InferenceService"]["spec"]["predictor"]["model"]
    assert "storageUri" not in model
    assert model["args"][0] == "--model-repository=/models"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "nomad"], "target 'nomad' is unknown; known are kubernetes, kserve"),
        (["--target", "kserve", "--storage", "ftp://x"], "not one of pvc://CLAIM"),
        (["--target", "kserve", "--storage", "pvc://"], "not one of pvc://CLAIM"),
        (["--target", "kserve", "--replicas", "0"], "--replicas must be 1 or more"),
        (["--target", "kserve", "--name", "Two Words"], "cannot name objects"),
        (["--target", "kserve", "--tls", "a", "--mutual-tls", "a"], "give it alone, without --tls"),
        (["--target", "kserve", "--tls", "Two Words"], "--tls 'Two Words' cannot be the name of a Secret"),
        (["--target", "kserve", "--control-key", "a/b"], "--control-key 'a/b' cannot be the name of a Secret"),
        (["--target", "kserve", "unknown"], "has no entry 'unknown' (known: quick, sentiment, verses)"),
    ],
)
def test_mistakes_are_told(repository, arguments, told):
    """In one line, with what is known or allowed."""
    result = CliRunner().invoke(main, ["manifests", "--repository", str(repository), *arguments])
    assert result.exit_code in (1, 2)
    assert told in result.output
    assert len(result.output.splitlines()) == 1


def test_an_empty_repository_has_nothing_to_serve(tmp_path):
    """The message says what puts something there."""
    result = CliRunner().invoke(main, ["manifests", "--target", "kubernetes", "--repository", str(tmp_path)])
    assert result.exit_code == 1
    assert "hf2triton export" in result.output


def test_the_command_writes_a_file(repository, tmp_path):
    """The same documents as on the screen, and the same each time."""
    command = ["manifests", "sentiment", "--target", "kubernetes", "--repository", str(repository)]
    shown = CliRunner().invoke(main, command)
    written = CliRunner().invoke(main, [*command, "-o", str(tmp_path / "server.yaml")])
    assert (shown.exit_code, written.exit_code, written.output) == (0, 0, "")
    assert (tmp_path / "server.yaml").read_text(encoding="utf-8") == shown.output
    assert len(list(yaml.safe_load_all(shown.output))) == 5
