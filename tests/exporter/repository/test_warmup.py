"""What models are warmed up with was asked, or was run, during the export."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.core.layout import is_warmup_as_written
from hf2triton.errors import ParityError
from hf2triton.repository.integrity import warmup_damages
from hf2triton.repository.warmup import run_graph_warmup
from hf2triton_client.evaluation.baseline import Baseline

from ...conftest import export_asset


def config_of(folder: Path) -> pb.ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), pb.ModelConfig())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A frontend that holds its graph, and one with the graph behind it."""
    repository = tmp_path_factory.mktemp("warmup") / "model_repository"
    export_asset(repository, "bert", "text-classification", "fp32", name="whole")
    export_asset(repository, "bert", "text-classification", "fp32", name="front", runner="bls")
    return repository


def test_a_frontend_is_warmed_up_with_what_pytorch_was_asked(exported):
    """Each sample is a pair of the baseline, and its files have the digests of their contents in their names."""
    folder = exported / "whole"
    baseline = Baseline.load(folder / "baseline.safetensors")
    asked = {
        pair
        for group in baseline.groups
        if "text_pair" in group.inputs
        for pair in zip(*group.inputs.values(), strict=True)
    }
    samples = config_of(folder).model_warmup
    assert len(samples) == 2
    for sample in samples:
        contents = [
            (folder / "warmup" / sample.inputs[name].input_data_file).read_bytes() for name in ("text", "text_pair")
        ]
        assert tuple(content[4:].decode() for content in contents) in asked
        assert all(
            is_warmup_as_written(sample.inputs[name].input_data_file, content)
            for name, content in zip(("text", "text_pair"), contents, strict=True)
        )
    assert list(warmup_damages(exported, "whole")) == []


def test_a_changed_file_is_named(exported, tmp_path):
    """And so is one that is gone."""
    repository = Path(shutil.copytree(exported, tmp_path / "model_repository"))
    first, second, *_ = sorted((repository / "whole" / "warmup").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    second.unlink()
    assert set(warmup_damages(repository, "whole")) == {
        f"whole/warmup/{first.name} was changed",
        f"whole/warmup/{second.name} is gone",
    }


def test_files_of_earlier_versions_have_no_digest_in_their_names():
    """They count as they are."""
    assert is_warmup_as_written("0_text", b"anything")
    assert is_warmup_as_written("ones_8", b"anything")


def test_a_sample_that_the_graph_cannot_run_is_named(exported, staged):
    """One with more tokens than the model has positions fails the export, not the start of a server."""
    config = config_of(exported / "front_model")
    stored = staged(exported).stored
    run_graph_warmup(stored, config, {}, gpu=False)
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        config.model_warmup[0].inputs[name].dims[0] = 4096
    with pytest.raises(ParityError, match="warm-up sample zeros"):
        run_graph_warmup(stored, config, {}, gpu=False)


def test_files_become_the_inputs_that_they_hold(exported, staged):
    """A mask of ones is read from its file for every row of the call."""
    config = config_of(exported / "front_model")
    value = config.model_warmup[0].inputs["attention_mask"]
    value.ClearField("zero_data")
    value.input_data_file = "ones"
    stored = staged(exported).stored
    run_graph_warmup(stored, config, {"warmup/ones": np.ones(value.dims[0], np.int64).tobytes()}, gpu=False)
    with pytest.raises(ParityError, match="reshape"):
        run_graph_warmup(stored, config, {"warmup/ones": np.ones(3, np.int64).tobytes()}, gpu=False)
