"""What the tests of calibration inputs share: graphs' inputs, a way to calibrate with a file, and such files."""

from functools import lru_cache

import numpy as np
from click.testing import CliRunner

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.preprocessing import preprocessor_of
from hf2triton.checkpoint.sample_inputs import parity_inputs
from hf2triton.checkpoint.source import find_source
from hf2triton.cli import main
from hf2triton.core.types import Graph, GraphInput
from hf2triton.parity.calibration_inputs import calibration_of
from hf2triton_client.evaluation.baseline import Baseline

from ...conftest import asset

TEXT_INPUTS = tuple(
    GraphInput(name, "INT64", ("batch", "sequence")) for name in ("input_ids", "attention_mask", "token_type_ids")
)
PIXELS = (GraphInput("pixel_values", "FLOAT", ("batch", 3, 28, 28)),)
DECODER_INPUTS = (
    GraphInput("input_ids", "INT64", ("batch", "sequence")),
    GraphInput("attention_mask", "INT64", ("batch", "total")),
    GraphInput("position_ids", "INT64", ("batch", "sequence")),
    GraphInput("past_key_values.0.key", "FLOAT", ("batch", 4, "past", 32)),
    GraphInput("past_key_values.0.value", "FLOAT", ("batch", 4, "past", 32)),
)
STATE = {f"past_key_values.0.{kind}": f"present.0.{kind}" for kind in ("key", "value")}


@lru_cache
def _loaded(family, task):
    return load_checkpoint(find_source(str(asset(family, task))), task)


def load(family, task, given=None, inputs=TEXT_INPUTS, endpoint=0):
    """The calibration of a trained checkpoint's part, from a file, or from what comes with the package; and its preprocessor."""
    checkpoint = _loaded(family, task)
    own = checkpoint.task.endpoints[endpoint]
    state = STATE if own.kind == "decoder" else {}
    graph = Graph(None, inputs, (), "fused", state=state)
    asked = {} if state else parity_inputs(checkpoint, own)
    baseline = Baseline(task, "fp16", asked, {}, {}, {})
    return calibration_of(checkpoint, own, graph, baseline, given), preprocessor_of(checkpoint, own)


def lines_in(path, *lines):
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def tensors(rows=20, length=9, dtype=np.int64):
    ids = np.random.default_rng(0).integers(5, 3000, (rows, length)).astype(dtype)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


def decoder_tensors(rows=3, sequence=4, past=2):
    rng = np.random.default_rng(0)
    states = {name: rng.standard_normal((rows, 4, past, 32)).astype(np.float32) for name in STATE}
    return {
        "input_ids": rng.integers(0, 2000, (rows, sequence)),
        "attention_mask": np.ones((rows, sequence + past), np.int64),
        "position_ids": np.tile(np.arange(past, past + sequence), (rows, 1)),
        **states,
    }


def export(source, folder, *options):
    command = ["export", str(source), "--name", "m", "--repository", str(folder / "repository"), "--dry-run"]
    return CliRunner().invoke(main, [*command, "--report", str(folder / "report.json"), *map(str, options)])
