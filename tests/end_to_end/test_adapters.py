"""A LoRA adapter merged into its base, through the real server, against peft."""

import json
import shutil

import pytest
import torch
import transformers
from google.protobuf import text_format
from peft import LoraConfig, PeftModel, get_peft_model
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.core.layout import CONFIG, MANIFEST
from hf2triton.core.options import ExportOptions
from hf2triton.demo.examples import BASE_NAME, weights
from hf2triton.errors import AdapterError
from hf2triton.export.pipeline import export
from hf2triton.serving import Server
from hf2triton_client import pipeline
from hf2triton_client.transport.served_model import PARAMETER

from ..conftest import asset
from ..support import ASSETS, RECORDS, TEXTS, assert_outputs_match, sample_of, snapshot

ADAPTER = ASSETS / "minilm-sentiment-lora"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """MiniLM's folder under the name that the adapter gives to its base."""
    link = tmp_path_factory.mktemp("base") / BASE_NAME
    link.symlink_to(weights())
    return link


@pytest.fixture(scope="module")
def adapted(base, tmp_path_factory):
    """A server with the merged model."""
    repository = tmp_path_factory.mktemp("adapted") / "model_repository"
    export(ExportOptions(str(base), "adapted", adapter=str(ADAPTER), repository=repository))
    with Server(repository) as server:
        yield server


@pytest.fixture(scope="module")
def theirs(base):
    """The base with its adapter on, as peft runs it."""
    config = json.loads((ADAPTER / "config.json").read_text())
    labels = {int(index): label for index, label in config["id2label"].items()}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=len(labels), id2label=labels
    )
    model = PeftModel.from_pretrained(model, ADAPTER).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    return transformers.TextClassificationPipeline(model=model.get_base_model(), tokenizer=tokenizer, device="cpu")


def test_the_merged_model_answers_as_with_its_adapter(adapted, theirs):
    """Labels and scores are those of the model with its adapter on."""
    with pipeline("sentiment-analysis", model="adapted", url=adapted.url) as ours:
        assert_outputs_match(theirs(TEXTS, top_k=None, truncation=True), ours(TEXTS, top_k=None), 1e-2)


def test_the_merged_model_is_as_good_as_in_training(adapted):
    """On held-out texts it is right about as often as its card says (0.886)."""
    rows = sample_of(ADAPTER)
    with pipeline("sentiment-analysis", model="adapted", url=adapted.url) as ours:
        answers = ours([row["text"] for row in rows])
    assert sum(answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)) / len(rows) > 0.75


def test_the_manifest_names_base_and_adapter(adapted):
    """Both with the digests of their files, and the proof of the merge."""
    manifest = json.loads((adapted.repository / "adapted" / MANIFEST).read_text())
    adapter = manifest["adapter"]
    assert manifest["source"]["digests"]["model.safetensors"].startswith("sha256:")
    assert adapter["digests"]["adapter_model.safetensors"].startswith("sha256:")
    assert adapter["base"].endswith(BASE_NAME)
    assert adapter["merge"]["adapter_difference"] <= adapter["merge"]["allowed"] < adapter["merge"]["base_difference"]


@pytest.mark.slow
def test_an_adapter_as_source_names_its_base(base, tmp_path):
    """Where the adapter's config names a folder, the adapter alone is enough."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in ADAPTER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
    before = snapshot(folder)
    report = export(ExportOptions(str(folder), "alone", repository=tmp_path / "r", dry_run=True))
    assert report.task == "text-classification"
    assert snapshot(folder) == before


def test_another_base_is_refused(tmp_path):
    """A base that the adapter does not name is an error with both names, before anything is written."""
    options = ExportOptions(str(ASSETS / "bert-sentiment"), "x", adapter=str(ADAPTER), repository=tmp_path / "r")
    with pytest.raises(
        AdapterError, match=r"was trained on .*all-MiniLM-L6-v2, and the base given is .*bert-sentiment"
    ):
        export(options)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("family", "task", "targets"),
    [
        pytest.param("bert", "question-answering", ["query", "dense"], marks=pytest.mark.slow),
        ("distilbert", "token-classification", ["q_lin", "v_lin"]),
        pytest.param("vit", "image-classification", ["q_proj", "fc1"], marks=pytest.mark.slow),
        ("clip", "zero-shot-image-classification", ["q_proj", "v_proj"]),
    ],
)
def test_every_family_takes_an_adapter(tmp_path, family, task, targets):
    """An adapter (random: nothing but numbers is proved here) is merged into each family's model, towers included."""
    source = asset(family, task)
    torch.manual_seed(0)
    model = load_checkpoint(find_source(str(source)), task).model
    get_peft_model(model, LoraConfig(target_modules=targets, init_lora_weights=False)).save_pretrained(
        tmp_path / "adapter"
    )
    options = {"adapter": str(tmp_path / "adapter"), "precision": "fp32", "repository": tmp_path / "r"}
    report = export(ExportOptions(str(source), "adapted", task, **options))
    assert all(parity.passed for parity in report.parity.values())
    for manifest in report.entry.manifests.values():
        merge = manifest.adapter.merge
        assert set(merge["target_modules"]) == set(targets)
        assert merge["base_difference"] > merge["allowed"] >= merge["adapter_difference"]


def test_an_adapter_of_transformers_4(tmp_path):
    """Its modules have other names; it is merged all the same, and its head tells the task and the labels."""
    base = shutil.copytree(RECORDS / "adapters" / "bases" / "vit", tmp_path / "tiny-vit")
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(base)
    adapter = RECORDS / "adapters" / "vit" / "transformers-4"
    report = export(ExportOptions(str(base), "old", adapter=str(adapter), repository=tmp_path / "r"))
    assert report.task == "image-classification"
    manifest = report.entry.manifests["old"]
    assert manifest.adapter.merge["renamed"] is True
    config = text_format.Parse((tmp_path / "r" / "old" / CONFIG).read_text(), pb.ModelConfig())
    assert len(json.loads(config.parameters[PARAMETER].string_value)["id2label"]) == 4
