"""What can be known without PyTorch is told without PyTorch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from hf2triton.checkpoint.precheck import look_at_files
from hf2triton.core.options import ExportOptions

from ...conftest import asset

SENTIMENT = asset("bert", "text-classification")
#: Runs the command line, then tells which heavy packages were imported on the way.
ALONE = """
import sys
from hf2triton.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sorted({"torch", "transformers", "onnx_ir", "peft", "optimum", "onnxruntime"} & set(sys.modules)))
"""


def config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def lose_head(folder: Path) -> None:
    weights = {
        name: array for name, array in load_file(folder / "model.safetensors").items() if "classifier" not in name
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (shutil.rmtree, (), "there is no folder"),
        (lambda folder: config(folder, id2label={"0": "a", "2": "b", "3": "c"}), (), "lacks 1"),
        (lambda folder: config(folder, model_type="llama"), (), "supported are"),
        (lambda folder: config(folder, vocab_size=7), (), "vocab_size 7"),
        (lambda folder: (folder / "tokenizer.json").unlink(), (), "has no tokenizer"),
        (lose_head, (), "would be random"),
        (lambda folder: None, ("--task", "fill-mask"), "was trained for text-classification"),
        (lambda folder: None, ("--device", "cuda", "--precision", "int8"), "not int8"),
        (lambda folder: None, ("--release", "1.0"), "1.0"),
    ],
)
def test_a_cheap_mistake_costs_nothing(tmp_path, spoil, options, words):
    """It is told before torch, transformers, onnx or onnxruntime are imported."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "checkpoint"))
    spoil(folder)
    command = [sys.executable, "-c", ALONE, "export", str(folder), "--name", "m", "--repository", str(tmp_path / "r")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert words in done.stderr.splitlines()[-1]
    assert done.stdout.strip() == ""
    assert not (tmp_path / "r").exists()


def test_weights_are_fetched_from_the_hub_only_for_a_sound_config(tmp_path, monkeypatch):
    """A hub id whose config cannot be served is refused while its weights are still where they were."""
    folder = Path(shutil.copytree(SENTIMENT, tmp_path / "0123456789abcdef0123456789abcdef01234567"))
    config(folder, position_embedding_type="relative_key")
    fetched = []

    def download(name, revision, allow_patterns):
        fetched.append(set(allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(Exception, match="relative_key"):
        look_at_files(ExportOptions("org/model", "m"))
    assert [patterns & {"*.safetensors", "*.bin"} for patterns in fetched] == [set()]
    config(folder, position_embedding_type="absolute")
    found = look_at_files(ExportOptions("org/model", "m"))
    assert (found.source.revision, found.source.weights) == (folder.name, ("model.safetensors",))
    assert "*.safetensors" in fetched[-1]
