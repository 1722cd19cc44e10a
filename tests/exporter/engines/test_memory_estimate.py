"""The estimate of a GPU's memory: held against what onnxruntime takes on a CPU, and against the GPU's size."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from hf2triton.checkpoint.loader import load_checkpoint
from hf2triton.checkpoint.source import find_source
from hf2triton.core.options import ExportOptions
from hf2triton.core.precision_plan import PrecisionPlan
from hf2triton.core.sizes import read_bytes
from hf2triton.engines.common.memory import (
    ARENA,
    LIBRARY_BYTES,
    PROCESS_BYTES,
    SERVER_BYTES,
    bytes_together,
    estimate_memory,
    kept_bytes,
    live_bytes,
)
from hf2triton.engines.common.resolve import resolve
from hf2triton.engines.tensorrt import WORKSPACE_BYTES
from hf2triton.errors import UsageError
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.storage import store
from hf2triton.parity.graph_kinds import GRAPH_KINDS
from hf2triton.tasks import find_task

from ...conftest import asset
from ..graph.tiny import op, tiny

#: Run in a process of its own: bytes that one call adds to what a session holds that has answered a small one.
MEASURE = """
import json, sys
import numpy as np, onnxruntime
path, shapes = sys.argv[1], json.loads(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 3
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
dtypes = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
def run(rows):
    feeds = {
        one.name: np.ones([rows or shapes[one.name][0], *shapes[one.name][1:]], dtypes[one.type]) for one in session.get_inputs()
    }
    return session.run(None, feeds)
def memory(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))
run(1)
before = memory("VmRSS:")
open("/proc/self/clear_refs", "w").write("5")
run(None)
print(memory("VmHWM:") - before)
"""
#: How far the estimate may lie from what a CPU takes, and what its arena holds beyond a call of one shape.
FACTOR, ARENA_ON_CPU = 1.5, 1.25
#: What is taken beside the instances of an encoder.
CONTEXT_BYTES = SERVER_BYTES + LIBRARY_BYTES


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """(family, task) -> the stored graph of a trained checkpoint in fp32 with standard attention, and its folder."""
    found = {}
    for family, task in (("bert", "text-classification"), ("vit", "image-classification"), ("gpt2", "text-generation")):
        checkpoint = load_checkpoint(find_source(str(asset(family, task))), task)
        endpoint = checkpoint.task.endpoints[0]
        graph = fit(clean(GRAPH_KINDS[endpoint.kind].export_graph(checkpoint, endpoint, "standard", OPSET)), None)
        folder = tmp_path_factory.mktemp(family)
        found[family] = store(graph, PrecisionPlan("fp32"), folder)
    return found


@pytest.mark.parametrize(
    ("family", "sizes"),
    [
        pytest.param("bert", {"batch": 128, "sequence": 128}, marks=pytest.mark.slow),
        ("bert", {"batch": 1000, "sequence": 16}),
        ("vit", {"batch": 256}),
    ],
)
def test_activations_are_what_onnxruntime_takes(stored, family, sizes):
    """With what the arena holds beyond it, within a factor of 1.5, where the largest call takes tens of MB."""
    graph = stored[family].graph
    shapes = {one.name: [sizes.get(dim, dim) for dim in one.dims] for one in graph.inputs}
    command = [sys.executable, "-c", MEASURE, str(stored[family].path), json.dumps(shapes)]
    measured = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    estimated = ARENA_ON_CPU * live_bytes(graph, sizes)
    assert measured > 10e6
    assert measured / FACTOR <= estimated <= measured * FACTOR


def settled(task, **options):
    return resolve(ExportOptions("x", "x", device="cuda", **options), find_task(task))


def test_the_parts_add_up(stored):
    """Context once, everything else for each instance; an instance's limit is its share of the GPU."""
    options = settled("text-classification", instances=3)
    found = estimate_memory(stored["bert"], options, 128, explicit=False)
    assert found.weights == stored["bert"].weight_bytes
    assert found.arena == pytest.approx((ARENA - 1) * found.activations, abs=1)
    assert found.total == CONTEXT_BYTES + 3 * (found.weights + found.activations + found.arena)
    assert found.limit == (16 * 10**9 - CONTEXT_BYTES) // 3 > found.instance
    assert (found.kept, found.max_batch_size) == (0, 64)
    trt = estimate_memory(stored["bert"], replace(options, device="tensorrt"), 128, explicit=False)
    assert trt.kept == WORKSPACE_BYTES


def test_what_models_share_counts_once(stored):
    """The server, and the libraries of graphs in its process; each Python model brings its own. Alone, each takes its total."""
    bert = estimate_memory(stored["bert"], settled("text-classification"), 128, explicit=False)
    gpt2 = estimate_memory(stored["gpt2"], settled("text-generation"), 256, explicit=False)
    text, verses = ((one.context, one.total - one.context, apart) for one, apart in ((bert, False), (gpt2, True)))
    assert bytes_together([text]) == bert.total
    assert bytes_together([verses]) == gpt2.total
    assert bytes_together([text, text]) == bert.total + text[1]
    own = 2 * verses[1] + text[1]
    assert bytes_together([verses, text, verses]) == SERVER_BYTES + LIBRARY_BYTES + 2 * PROCESS_BYTES + own


def test_the_largest_batch_is_the_largest_that_fits(stored):
    """One row more would not fit; a GPU with more memory takes more."""
    for memory in ("940MB", "1200MB"):
        options = settled("image-classification", max_batch_size=100_000, gpu_memory=read_bytes(memory))
        found = estimate_memory(stored["vit"], options, None, explicit=False)
        assert found.total <= found.gpu == read_bytes(memory)
        more = replace(options, max_batch_size=found.max_batch_size + 1)
        assert estimate_memory(stored["vit"], more, None, explicit=False).max_batch_size == found.max_batch_size
        with pytest.raises(UsageError, match=rf"a batch of {found.max_batch_size + 1} takes .* a batch of \d+ fits"):
            estimate_memory(stored["vit"], more, None, explicit=True)
    assert found.max_batch_size > 100


def test_a_model_that_fits_nowhere_is_refused(stored):
    """It says what a batch of 1 takes, and what can be done."""
    options = settled("text-classification", gpu_memory=10**6)
    with pytest.raises(UsageError, match=r"not even a batch of 1 fits, which takes 0.88 GB.*--gpu-memory"):
        estimate_memory(stored["bert"], options, 128, explicit=False)


def test_the_planner_bounds_a_call_and_tensorrt_does_not(stored):
    """CUDA never sees all rows at full length where that is more than 16,384 tokens; TensorRT plans for it."""
    options = settled("text-classification", max_batch_size=1024)
    cuda = estimate_memory(stored["bert"], options, 128, explicit=False).activations
    trt = estimate_memory(stored["bert"], replace(options, device="tensorrt"), 128, explicit=False).activations
    assert trt == pytest.approx(8 * cuda, rel=0.05)


def test_slots_of_a_decoder_are_kept(stored):
    """Keys and values of all slots at full length: as many bytes as the frontend allocates."""
    graph = stored["gpt2"].graph
    layers, heads, head_size, context = 4, 4, 32, 256
    assert kept_bytes(graph, 8, context) == 2 * layers * 8 * heads * context * head_size * 4
    found = estimate_memory(stored["gpt2"], settled("text-generation"), context, explicit=False)
    assert found.kept == kept_bytes(graph, 8, context)
    assert found.context == SERVER_BYTES + found.instances * PROCESS_BYTES, "a process of its own"


def test_buffers_are_used_again():
    """A chain of equal sizes takes two buffers, however long; a value that is read at the end keeps its own."""
    weights = {"w": np.eye(4, dtype=np.float32)}
    chain = [op("MatMul", f"{name} w", after) for name, after in zip("xabcd", "abcdy", strict=True)]
    size = 10 * 4 * 4
    assert live_bytes(tiny(chain, weights, {"x": ("n", 4)}), {"n": 10}) == size + 2 * size
    kept = [*chain[:-1], op("Add", "a d", "y")]
    assert live_bytes(tiny(kept, weights, {"x": ("n", 4)}), {"n": 10}) == size + 3 * size


def test_the_mask_in_two_dimensions_costs_the_scores():
    """Where the key lengths are given as such, fused kernels hold no scores."""
    node = op("com.microsoft::MultiHeadAttention", "x x x  b", "y", num_heads=2)
    both = []
    for dims in (("n", "s"), ("m",)):
        graph = tiny([node], {}, {"x": ("n", "s", 8), "b": dims})
        graph.model.graph.node(0).outputs[0].shape = ir.Shape(["n", "s", 8])
        mask = graph.model.graph.inputs[1]
        graph.model.graph.node(0).resize_inputs(5)
        for index, value in enumerate([graph.model.graph.inputs[0]] * 3 + [None, mask]):
            graph.model.graph.node(0).replace_input_with(index, value)
        both.append(live_bytes(graph, {"n": 3, "s": 16, "m": 11}) - 4 * (3 * 16 if len(dims) == 2 else 11))
    assert both[0] - both[1] == 3 * 2 * 16 * 16 * 4


def test_a_bias_costs_the_scores():
    """Kernels that take a bias without holding the scores do so only at some lengths."""
    node = op("com.microsoft::MultiHeadAttention", "x x x", "y", num_heads=2)
    node.input.extend(["", "", "b"])
    graph = tiny([node], {}, {"x": ("n", "s", 8), "b": (1, 2, "s", "s")})
    graph.model.graph.node(0).outputs[0].shape = ir.Shape(["n", "s", 8])
    held = 4 * (2 * 3 * 16 * 8 + 2 * 16 * 16)
    assert live_bytes(graph, {"n": 3, "s": 16}) - held == 3 * 2 * 16 * 16 * 4


@pytest.mark.parametrize(
    ("text", "size"), [("16GB", 16 * 10**9), ("1.5 gib", 3 << 29), ("7", 7), ("80Gb", 80 * 10**9), ("2kB", 2000)]
)
def test_sizes_are_read(text, size):
    """In powers of 1000 or 1024, whatever the case."""
    assert read_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0GB", "16XB", "1e9", "16 G B"])
def test_other_sizes_are_refused(text):
    """With how it should read."""
    with pytest.raises(UsageError, match="should read like 16GB"):
        read_bytes(text)
