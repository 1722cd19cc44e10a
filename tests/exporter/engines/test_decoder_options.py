"""What cannot be had of a decoder, or of another model, is refused before minutes of work, in one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.engines import ENGINES
from hf2triton.engines.common import resolve as tables
from hf2triton.graph.tracing.attention import ATTENTIONS
from hf2triton.graph.tracing.decoder_attention import DECODER_ATTENTIONS
from hf2triton.parity.graph_kinds import GRAPH_KINDS
from hf2triton.repository.entry import _FRONTENDS
from hf2triton.tasks import TASKS

from ...conftest import asset
from ...support import ASSETS
from ..checkpoint.test_tokenizer import BYTE_FALLBACK, give_decoder
from ..verses import VERSES

BERT = asset("bert", "text-classification")
#: The first stages that take long.
HEAVY = ("merge the adapter", "ask PyTorch")


def refused(source, *options):
    """What a refused export says last, and its exit code; it has not begun with anything heavy."""
    command = ["export", str(source), "--name", "m", "--repository", "/nonexistent/nowhere", "--dry-run", *options]
    result = CliRunner().invoke(main, command)
    assert result.exit_code in (1, 2), result.output
    assert not any(stage in result.stderr for stage in HEAVY)
    assert "Traceback" not in result.output
    return result.exit_code, result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("named", [False, True], ids=["inferred", "named"])
@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (VERSES, ["--precision", "int8", "--device", "cuda"], "--device cuda is exported in fp32, fp16, not int8"),
        (
            BERT,
            ["--precision", "int8", "--device", "cuda"],
            "text-classification with --device cuda is exported in fp32,",
        ),
        (VERSES, ["--runner", "bls"], "text-generation with --device cpu runs with --runner inprocess, not bls"),
        (
            VERSES,
            ["--runner", "bls", "--device", "cuda"],
            "text-generation with --device cuda runs with --runner inprocess",
        ),
        (
            VERSES,
            ["--attention", "fused-any-mask"],
            "text-generation is exported with fused, standard attention, not fused-any-mask",
        ),
    ],
)
def test_what_a_task_cannot_have_is_refused(source, options, message, named):
    """Exit code 2, whether the task was named or found in the checkpoint, and what it can have is said."""
    task = {BERT: "text-classification", VERSES: "text-generation"}[source]
    code, line = refused(source, *options, *(["--task", task] if named else []))
    assert code == 2
    assert message in line
    assert ("look at the files" in line) != named


def test_what_both_kinds_have_is_left_to_them():
    """The tables of options name what graphs, frontends and tolerances there are, for every kind of part."""
    kinds = {endpoint.kind for task in TASKS.values() for endpoint in task.endpoints}
    for table in (GRAPH_KINDS, _FRONTENDS, tables.ATTENTIONS, tables.MAX_BATCH_SIZES, tables.MAX_INSTANCES):
        assert set(table) == kinds
    assert all(set(engine.runners) == set(engine.precisions) <= kinds for engine in ENGINES.values())
    assert set(ENGINES["cpu"].runners) == kinds
    assert {"encoder": tuple(ATTENTIONS), "decoder": tuple(DECODER_ATTENTIONS)} == tables.ATTENTIONS
    for task in TASKS.values():
        assert len({endpoint.kind for endpoint in task.endpoints}) == 1  # options are those of the first
        for endpoint in task.endpoints:
            for output in endpoint.outputs:
                for engine in ENGINES.values():
                    assert set(engine.precisions.get(endpoint.kind, ())) <= set(output.tolerances)


def test_what_was_left_open_is_settled():
    """Runner and batch are the task's own, unless they were given."""
    from hf2triton.core.options import ExportOptions
    from hf2triton.tasks import find_task

    open_options = ExportOptions("source", "name")
    for task, device, expected in (
        ("text-generation", "cpu", ("inprocess", 8)),
        ("text-generation", "cuda", ("inprocess", 8)),
        ("fill-mask", "cpu", ("inprocess", 64)),
        ("fill-mask", "cuda", ("bls", 64)),
        ("fill-mask", "tensorrt", ("bls", 64)),
    ):
        settled = tables.resolve(replace(open_options, device=device), find_task(task))
        assert (settled.runner, settled.max_batch_size) == expected
        assert tables.resolve(settled, find_task(task)) == settled
    given = {"runner": "inprocess", "max_batch_size": 3, "attention": "standard", "max_queue": 7}
    settled = tables.resolve(replace(open_options, **given), find_task("text-generation"))
    assert {name: getattr(settled, name) for name in given} == given


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the verses, to be changed."""
    return Path(shutil.copytree(VERSES, tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({"num_beams": 4}, "asks for num_beams=4, which is not supported"),
        ({"num_beams": 4, "min_p": 0.1}, "asks for num_beams=4, min_p=0.1"),
        ({"suppress_tokens": [3]}, "asks for suppress_tokens=[3]"),
        ({"temperature": "hot", "do_sample": True}, "temperature must be a number"),
        (
            {"num_return_sequences": 3},
            "num_return_sequences",
        ),  # without do_sample, which transformers does not take either
    ],
)
def test_generation_that_is_not_supported_is_refused(checkpoint, generation, message):
    """Before loading, with the name and the value: served without it, the texts would be others than in transformers."""
    path = checkpoint / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | generation))
    code, line = refused(checkpoint)
    assert code == 1
    assert line.startswith("hf2triton: look at the files: ")
    assert message in line
    assert str(checkpoint) in line


@pytest.mark.parametrize(("content", "message"), [("{", "cannot be read"), ("[]", "does not hold a JSON object")])
def test_a_generation_config_that_is_broken_is_refused(checkpoint, content, message):
    """transformers would generate with its own defaults in its place."""
    (checkpoint / "generation_config.json").write_text(content)
    code, line = refused(checkpoint)
    assert code == 1
    assert message in line


def test_settings_of_old_checkpoints_are_checked_too(checkpoint):
    """Before there was a generation_config.json, they stood in config.json."""
    (checkpoint / "generation_config.json").unlink()
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"num_beams": 3}))
    code, line = refused(checkpoint)
    assert code == 1
    assert "asks for num_beams=3" in line


@pytest.mark.parametrize("decoder", BYTE_FALLBACK, ids=["alone", "in a sequence"])
def test_a_tokenizer_with_byte_fallback_is_refused(checkpoint, decoder):
    """At loading; its text cannot be given piece by piece."""
    give_decoder(checkpoint, decoder)
    code, line = refused(checkpoint)
    assert code == 1
    assert line.startswith("hf2triton: load the checkpoint: the tokenizer in")
    assert "byte fallback" in line


def test_a_tokenizer_that_is_not_there_is_refused(checkpoint):
    """With the files that would do."""
    (checkpoint / "tokenizer.json").unlink()
    code, line = refused(checkpoint)
    assert code == 1
    assert "has no tokenizer (tokenizer.json, vocab.txt, vocab.json, *.model)" in line


def test_options_are_settled_before_an_adapter_is_merged(tmp_path):
    """To merge one and to prove that takes the longer, the larger the model is."""
    from hf2triton.demo.examples import BASE_NAME, weights

    adapter = ASSETS / "minilm-sentiment-lora"
    base = tmp_path / BASE_NAME
    base.symlink_to(weights())
    code, line = refused(base, "--adapter", str(adapter), "--precision", "int8", "--device", "cuda")
    assert code == 2
    assert (
        "text-classification with --device cuda is exported in fp32, fp16, not int8 (the repository is as it was)"
        in line
    )
