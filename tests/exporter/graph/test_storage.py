"""Graphs on disk: in one file, or with their weights beside them, in the shape that Triton and onnxruntime take."""

import gc
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from hf2triton.core.options import ExportOptions
from hf2triton.core.precision_plan import Fp32Node, PrecisionPlan
from hf2triton.export.pipeline import export
from hf2triton.graph.precision.conversion import weight_bytes
from hf2triton.graph.storage import WEIGHTS, store, unload
from hf2triton.parity.local_runner import open_version
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.compare import compare_greedy

from ...support import ASSETS, rest_slow
from .tiny import answer, op, session_of, tiny

RNG = np.random.default_rng(0)
FEEDS = {"x": RNG.standard_normal((4, 64)).astype(np.float32)}
FP32, FP16 = PrecisionPlan("fp32"), PrecisionPlan("fp16")
SIZE = (64 * 64 + 64 * 64 + 64) * 4
TOGETHER, BESIDE = {"model.onnx"}, {"model.onnx/model.onnx", "model.onnx/weights.data"}


def layers():
    rng = np.random.default_rng(1)
    weights = {
        "w": rng.standard_normal((64, 64)).astype(np.float32) / 8,
        "v": rng.standard_normal((64, 64)).astype(np.float32) / 8,
        "b": rng.standard_normal(64).astype(np.float32),
    }
    nodes = [op("MatMul", "x w", "product"), op("Add", "product b", "sum"), op("MatMul", "sum v", "y")]
    return tiny(nodes, weights, {"x": ("batch", 64)})


def run(path):
    return session_of(path).run(None, FEEDS)[0]


def written(folder):
    """What lies in a folder, but for the twin."""
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in files if not name.startswith("twin")}


@pytest.mark.parametrize(
    ("precision", "limit", "files"),
    [
        ("fp32", SIZE, TOGETHER),
        ("fp32", SIZE - 1, BESIDE),
        ("fp16", SIZE // 2, TOGETHER),
        ("fp16", SIZE // 2 - 1, BESIDE),
    ],
)
def test_one_file_up_to_the_limit(tmp_path, precision, limit, files):
    """Weights of more bytes than the limit, in the precision that is stored, lie beside the graph, as a real file."""
    stored = store(layers(), PrecisionPlan(precision), tmp_path, limit)
    assert set(stored.files) == written(tmp_path) == files
    assert all(path == tmp_path / name for name, path in stored.files.items())
    assert stored.place == next(name for name in stored.files)
    assert stored.path.name == "model.onnx"
    assert (stored.weight_bytes, stored.fp32_weight_bytes) == (SIZE // (2 if precision == "fp16" else 1), SIZE)
    onnx.checker.check_model(str(stored.path))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_either_form_answers_the_same(tmp_path, precision):
    """onnxruntime loads both, and not a bit of the answer differs; nor of the twin's."""
    together = store(layers(), PrecisionPlan(precision), tmp_path / "one")
    beside = store(layers(), PrecisionPlan(precision), tmp_path / "two", 1000)
    assert (set(together.files), set(beside.files)) == (TOGETHER, BESIDE)
    np.testing.assert_array_equal(run(together.path), run(beside.path))
    assert together.has_twin == (precision == "fp16")
    if together.has_twin:
        np.testing.assert_array_equal(run(together.twin), run(beside.twin))


def test_weights_are_really_beside_it(tmp_path):
    """Large weights are in weights.data alone, at offsets that can be mapped; small ones stay in the graph."""
    graph = layers()
    stored = store(graph, FP32, tmp_path, 1000)
    weights = graph.model.graph.initializers
    graph_file, data = (path.read_bytes() for path in stored.files.values())
    model = ir.load(stored.path)
    for name in "wv":
        raw = weights[name].const_value.numpy().tobytes()
        tensor = model.graph.initializers[name].const_value
        assert isinstance(tensor, ir.ExternalTensor)
        assert str(tensor.location) == WEIGHTS
        assert raw in data
        assert raw not in graph_file
    assert weights["b"].const_value.numpy().tobytes() in graph_file


def test_a_folder_can_be_moved(tmp_path):
    """Graph and weights find each other by their names."""
    store(layers(), FP32, tmp_path / "here", 1000)
    (tmp_path / "here" / "model.onnx").rename(tmp_path / "there")
    np.testing.assert_array_equal(run(tmp_path / "there" / "model.onnx"), answer(layers().model, FEEDS, tmp_path))


def test_a_graph_of_small_weights_alone(tmp_path):
    """More bytes than the limit, but no weight worth a file of its own: every file that is named is there, and it loads."""
    bias = np.ones(64, np.float32)
    nodes = [op("Add", "x a", "first"), op("Add", "first b", "second"), op("Mul", "second c", "y")]
    graph = tiny(nodes, {"a": bias, "b": bias * 2, "c": bias * 3}, {"x": ("batch", 64)})
    stored = store(graph, FP32, tmp_path, 500)
    assert written(tmp_path) == set(stored.files)
    np.testing.assert_allclose(run(stored.path), (FEEDS["x"] + 3) * 3, rtol=1e-6)


@pytest.mark.parametrize("limits", [(1 << 30, 1000), (1000, 1 << 30), (1000, 1000)])
def test_storing_again_replaces_what_was_there(tmp_path, limits):
    """A file takes the place of a folder, and a folder that of a file; nothing of the first call is left."""
    first, second = (store(layers(), plan, tmp_path, limit) for plan, limit in zip((FP16, FP32), limits, strict=True))
    assert written(tmp_path) == set(second.files)
    assert (first.place == second.place) == (limits[0] == limits[1])
    expected = answer(layers().model, FEEDS, tmp_path)
    np.testing.assert_array_equal(run(second.path), expected)


def test_a_twin_is_replaced_too(tmp_path):
    """The second plan's twin is what lies there, with its weights."""
    plan = PrecisionPlan("fp16", tuple(Fp32Node(name, "", "", 0) for name in ("product", "sum", "y")))
    plain = run(store(layers(), FP16, tmp_path).twin)
    kept = run(store(layers(), plan, tmp_path).twin)
    exact = answer(layers().model, FEEDS, tmp_path)
    assert not np.array_equal(plain, exact)
    np.testing.assert_array_equal(kept, exact)


def test_the_description_holds_no_weights(tmp_path):
    """What travels on knows inputs, outputs and nodes, and keeps no weights in memory."""
    stored = store(layers(), FP16, tmp_path)
    assert all(value.const_value is None for value in stored.graph.model.graph.initializers.values())
    assert [node.name for node in stored.graph.model.graph if node.op_type != "Cast"] == ["product", "sum", "y"]
    assert stored.graph.precision == "fp16"


def test_the_same_bytes_each_time(tmp_path):
    """Two calls write the same files, weights beside the graph or not."""
    for limit in (1000, 1 << 30):
        first = store(layers(), FP16, tmp_path / "first", limit)
        second = store(layers(), FP16, tmp_path / "second", limit)
        for name in first.files:
            assert first.files[name].read_bytes() == second.files[name].read_bytes()


def test_weights_that_were_put_aside(tmp_path):
    """The graph holds no array any more, not of small weights either, and is stored as ever after the originals are gone."""
    expected = store(layers(), FP16, tmp_path / "expected")
    graph = layers()
    originals = {name: value.const_value.numpy() for name, value in graph.model.graph.initializers.items()}
    graph = unload(graph, tmp_path / "aside")
    kept = {name: value.const_value for name, value in graph.model.graph.initializers.items()}
    assert {name for name, tensor in kept.items() if isinstance(tensor, ir.ExternalTensor)} == {"w", "v"}
    assert not np.shares_memory(kept["b"].numpy(), originals["b"])
    del originals
    gc.collect()
    stored = store(graph, FP16, tmp_path / "aside")
    assert stored.path.read_bytes() == expected.path.read_bytes()
    np.testing.assert_array_equal(run(stored.twin), run(expected.twin))
    assert weight_bytes(graph.model) == SIZE


def test_weights_aside_do_not_follow_their_originals(tmp_path):
    """What is done to an array afterwards does not reach the graph."""
    graph = layers()
    before = answer(graph.model, FEEDS, tmp_path)
    mine = {name: value.const_value.numpy().copy() for name, value in graph.model.graph.initializers.items()}
    for name, value in graph.model.graph.initializers.items():
        value.const_value = ir.Tensor(mine[name], name=name)
    graph = unload(graph, tmp_path / "aside")
    for array in mine.values():
        array[:] = 0
    np.testing.assert_array_equal(answer(graph.model, FEEDS, tmp_path), before)


PUBLISHED = [("bert-sentiment", "fp16"), ("bert-sentiment", "int8"), ("gpt2-verses", "fp32"), ("gpt2-verses", "int8")]


@pytest.mark.parametrize(("name", "precision"), rest_slow(PUBLISHED))
def test_an_entry_with_its_weights_beside_the_graph(tmp_path, name, precision):
    """It holds the folder that Triton wants, its manifest both files' digests, and it answers as PyTorch did."""
    options = {"precision": precision, "repository": tmp_path / "repository", "largest_file": 1000}
    export(ExportOptions(str(ASSETS / name), "m", **options))
    version = tmp_path / "repository" / "m" / "1"
    folder = version / "model.onnx"
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "weights.data"}
    for path in folder.iterdir():
        assert path.is_file()
        assert not path.is_symlink()
    assert (folder / "model.onnx").stat().st_size < (folder / "weights.data").stat().st_size
    digests = json.loads((version / "manifest.json").read_text())["files"]
    for path in folder.iterdir():
        [digest] = [value for key, value in digests.items() if Path(key).name == path.name and "model.onnx/" in key]
        assert hashlib.sha256(path.read_bytes()).hexdigest() in str(digest)
    baseline = Baseline.load(version / "baseline.safetensors")
    ask = open_version(version)
    item = {key: values[4] for key, values in baseline.inputs.items()}
    if name == "gpt2-verses":
        [tokens] = ask(item).token_ids
        expected = list(baseline.greedy())[4]
        assert compare_greedy("token_ids", [(expected, np.array(tokens))], baseline.tolerances["token_ids"]).passed
    else:
        [[logits]] = ask(item)
        tolerance = baseline.tolerances["logits"].max_abs
        np.testing.assert_allclose(logits[0], baseline.answers["logits"][4], atol=tolerance)
