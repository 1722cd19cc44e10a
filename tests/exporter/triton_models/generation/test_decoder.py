"""The decoder runs a graph over slots of a cache that is bound in place."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hf2triton.families import FAMILIES
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.precision.conversion import with_precision
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.decoder import export_decoder
from hf2triton.triton_models.generation.cache import COPY, HostCache
from hf2triton.triton_models.generation.decoder import (
    CopyingDecoder,
    Decoder,
    layout_of,
    open_decoder,
    require_onnxruntime,
)
from hf2triton.triton_models.generation.scheduler import Scheduler

from ...graph.test_decoder import make_model
from .callers import Caller, Watched, finish_all, make_engine
from .tiny_decoder import HEAD_SIZE, HEADS, LAYERS, MAX_LENGTH, PROMPTS, VOCABULARY, alone, graph


def test_the_oracle_is_worth_asking():
    """Its sequences do not collapse into one token, so that equality with them says something."""
    assert min(len(set(alone(prompt, 20))) for prompt in PROMPTS) > 10


def test_a_graph_is_opened_from_its_file(tmp_path):
    """`open_decoder` reads heads, layers and dtype from the graph."""
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    decoder = open_decoder(str(path), slots=2, max_length=MAX_LENGTH, threads=1)
    assert (decoder.slots, decoder.max_length, decoder.vocabulary) == (2, MAX_LENGTH, VOCABULARY)
    scheduler = Scheduler(decoder, max_queue=0)
    caller = Caller(scheduler, PROMPTS[1], 5)
    finish_all(scheduler)
    caller.assert_as_alone()


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda", "no CUDAExecutionProvider, .*onnxruntime-gpu"), ("tpu", "no device tpu; the devices are cpu, cuda")],
)
def test_absent_devices_are_refused(device, message, monkeypatch):
    """Nobody is served from the CPU who asked for another device."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeError, match=message):
        open_decoder("model.onnx", slots=2, max_length=MAX_LENGTH, device=device)


class OnCuda:
    """Stands for `onnxruntime.InferenceSession` where there is a GPU: notes what it was made with, and runs on the CPU."""

    made: list = []

    def __init__(self, model, options=None, providers=()):
        OnCuda.made.append(providers)
        self._session = SESSION(model, options, providers=["CPUExecutionProvider"])

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def __getattr__(self, name):
        return getattr(self._session, name)


SESSION, FROM_NUMPY = onnxruntime.InferenceSession, onnxruntime.OrtValue.ortvalue_from_numpy


class CudaBinding:
    """Binds what is said to be on the GPU on the CPU."""

    def __init__(self, session):
        self._binding = session.io_binding()

    def bind_input(self, name, device, device_id, *rest):
        assert (device, device_id) == ("cuda", 1)
        self._binding.bind_input(name, "cpu", 0, *rest)

    def bind_output(self, name, device, device_id, *rest):
        assert (device, device_id) == (("cpu", 0) if name == "logits" else ("cuda", 1))
        self._binding.bind_output(name, "cpu", 0, *rest)

    def __getattr__(self, name):
        return getattr(self._binding, name)


def test_on_a_gpu_the_cache_lies_there_and_nothing_else_does(tmp_path, monkeypatch):
    """Keys and values are allocated and bound on the instance's own GPU, logits on the CPU where the samplers are; the session
    and what copies slots run there too; and the tokens are those of the oracle."""
    allocated = []

    def from_numpy(array, device="cpu", device_id=0):
        allocated.append((array.shape, device, device_id))
        return FROM_NUMPY(array)

    monkeypatch.setattr(OnCuda, "made", [])
    monkeypatch.setattr(OnCuda, "io_binding", lambda self: CudaBinding(self._session), raising=False)
    monkeypatch.setattr(
        OnCuda, "run_with_iobinding", lambda self, one: self._session.run_with_iobinding(one._binding), raising=False
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnCuda)
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", staticmethod(from_numpy))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    decoder = open_decoder(str(path), slots=3, max_length=MAX_LENGTH, device="cuda", device_id=1, threads=1)
    scheduler = Scheduler(decoder, max_queue=8)
    callers = [
        Caller(scheduler, prompt, 3 + 4 * index) for index, prompt in enumerate(PROMPTS[:4])
    ]  # one waits, slots move
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()
    slots = (3, HEADS, MAX_LENGTH, HEAD_SIZE)
    assert [one for one in allocated if one[1] != "cpu"] == [(slots, "cuda", 1)] * (2 * LAYERS)
    session, copier = OnCuda.made
    assert session == [
        ("CUDAExecutionProvider", {"device_id": 1, "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}),
        "CPUExecutionProvider",
    ]
    assert copier == [("CUDAExecutionProvider", {"device_id": 1})]
    assert "on cuda" in str(decoder)


@pytest.mark.parametrize(
    ("past", "logits", "message"),
    [
        (None, None, r"no inputs past_key_values.*its inputs are x"),
        (
            "double[b, 4, p, 8]",
            "float[b, n, 9]",
            r"past_key_values.0.key is tensor\(double\); served are float32, float16",
        ),
        ("float[b, h, p, 8]", "float[b, n, 9]", r"past_key_values.0.key has the shape .*'h'.*; its heads"),
        ("float[b, 4, p, 8]", "float[b, n, v]", r"logits has the shape .*'v'.*; the size of the vocabulary"),
        ("float[b, 4, p, 8]", "double[b, n, 9]", r"logits is tensor\(double\)"),
    ],
)
def test_other_graphs_are_refused(past, logits, message, tmp_path):
    """What the cache and the logits must be is said where a graph is opened, not by a request that fails."""
    path = tmp_path / "model.onnx"
    text = f"""<ir_version: 10, opset_import: ["" : 20]> decoder ({past} "past_key_values.0.key", {logits} x)
        => ({past} "present.0.key", {logits} logits)
        {{ "present.0.key" = Identity("past_key_values.0.key")   logits = Identity(x) }}"""
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString() if past else COPY)
    with pytest.raises(ValueError, match=message):
        open_decoder(str(path), slots=2, max_length=MAX_LENGTH, threads=1)


def test_the_cache_is_bound_in_place_and_never_copied_in_a_step():
    """Past and present are always the same range of the one allocation, and slots move only when somebody leaves."""
    watched = Watched()
    layout = layout_of(watched, 3, MAX_LENGTH)
    cache = HostCache(layout)
    scheduler = Scheduler(Decoder(watched, cache), 100, 4)
    moves = []
    cache.move = lambda *arguments: (moves.append(arguments), HostCache.move(cache, *arguments))
    callers = [Caller(scheduler, prompt, 5 + 3 * n) for n, prompt in enumerate(PROMPTS)]
    finish_all(scheduler)
    for name in layout.names:
        bound = watched.bound[f"past_key_values.{name}"]
        assert watched.bound[f"present.{name}"] == bound
        starts = [cache.address(name, slot) for slot in range(layout.slots)]
        assert {address for address, _ in bound} <= set(starts)
        assert all(starts.index(address) + shape[0] <= layout.slots for address, shape in bound)
        assert {shape[1:] for _, shape in bound} == {(HEADS, MAX_LENGTH, HEAD_SIZE)}
    statistics = scheduler.statistics()
    assert len(moves) == statistics.moved <= 2 * len(callers)
    pieces = sum(-(-(len(prompt) - 1) // 4) for prompt in PROMPTS)
    assert watched.runs == statistics.steps + pieces


LENGTHS, NEW = (1, 9, 6, 40, 3, 80, 5, 10), 24


@pytest.fixture(scope="module")
def model():
    return make_model(seed=30)


@pytest.fixture(scope="module")
def expected(model):
    """For each of LENGTHS a prompt, what PyTorch generates after it, and its logits on the way."""
    rows = []
    for length in LENGTHS:
        prompt = torch.randint(0, model.config.vocab_size, (1, length), generator=torch.manual_seed(length))
        with torch.inference_mode():
            sequence = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW, do_sample=False, pad_token_id=0
            )
            logits = model(sequence).logits[0, length - 1 : -1]
        rows.append((prompt[0].tolist(), sequence[0, length:].tolist(), logits.numpy()))
    assert min(len(set(tokens)) for _, tokens, _ in rows) > 8  # worth asking
    return rows


@pytest.fixture(scope="module")
def standard(model, tmp_path_factory):
    """The files of a graph in standard ops, by precision."""
    folder, graph = (
        tmp_path_factory.mktemp("standard"),
        export_decoder(model, FAMILIES["gpt2"].decoder, "standard", OPSET),
    )
    graph, paths = fit(clean(graph), None), {}
    for precision in ("fp32", "fp16"):
        paths[precision] = folder / f"{precision}.onnx"
        copy = replace(graph, model=graph.model.clone())
        save_graph(with_precision(copy, precision).model, paths[precision])
    return paths


def open_standard(standard, precision="fp32", slots=3, max_length=128):
    decoder = open_decoder(str(standard[precision]), slots, max_length, threads=1, in_place=False)
    assert isinstance(decoder, CopyingDecoder)
    return decoder


class Wanted(Caller):
    """Asks for a row of `expected`, at most `count` tokens of it."""

    def __init__(self, scheduler, row, count=NEW):
        super().__init__(scheduler, row[0], count)
        self.row = row

    def assert_as_pytorch(self, margin=0.0):
        """A token may be another one where PyTorch prefers its own by no more than the margin."""
        assert self.reason == "length"
        assert len(self.tokens) == self.count
        _, tokens, logits = self.row
        for own, wanted, scores in zip(self.tokens, tokens, logits, strict=False):
            if own != wanted:
                assert scores[wanted] - scores[own] < margin
                break


@pytest.mark.parametrize(("precision", "margin"), [("fp32", 0.0), ("fp16", 0.02)])
@pytest.mark.parametrize("chunk", [7, 64])
def test_a_graph_in_standard_ops_generates_pytorchs_tokens(standard, expected, precision, margin, chunk):
    """Through the engine, whatever the prompts' lengths, and whoever joins or leaves in the meantime."""
    scheduler = Scheduler(open_standard(standard, precision), 100, chunk)
    callers = [Wanted(scheduler, row, 6 + 5 * (index % 3)) for index, row in enumerate(expected[:4])]
    for index, row in enumerate(expected):
        for _ in range(index):
            scheduler.step()
        callers.append(Wanted(scheduler, row, NEW - index))
        if index == 4:
            leaver = Wanted(scheduler, row, 20)
            for _ in range(9):
                scheduler.step()
            scheduler.cancel(leaver.request)
    finish_all(scheduler)
    assert leaver.reason == "cancelled"
    assert scheduler.statistics().moved > 3
    for caller in callers:
        caller.assert_as_pytorch(margin)


def test_a_slot_in_standard_ops_is_used_to_its_end(standard, expected):
    """The last token's key and value fill the slot exactly, beside rows that are shorter."""
    scheduler = Scheduler(open_standard(standard, slots=2, max_length=40 + NEW - 1), 100)
    callers = [Wanted(scheduler, expected[3]), Wanted(scheduler, expected[1])]
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_pytorch()


@pytest.mark.parametrize("left", [np.nan, np.inf])
def test_what_a_broken_request_left_is_not_seen(standard, expected, left):
    """Keys and values that overflowed stay in a slot; they must not reach whoever has it next, through no mask that
    multiplies by 0."""
    copying, in_place = open_standard(standard), make_engine()._decoder
    for decoder in (copying, in_place):
        for name in decoder._cache.layout.names:
            decoder._cache.rows(name, 0, decoder.slots)[...] = left
    scheduler = Scheduler(copying, 100)
    callers = [Wanted(scheduler, row) for row in expected]
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_pytorch()
    scheduler = Scheduler(in_place, 100)
    callers = [Caller(scheduler, prompt, 12) for prompt in PROMPTS]
    finish_all(scheduler)
    for caller in callers:
        caller.assert_as_alone()


@pytest.mark.parametrize(
    ("slots", "max_length", "chunk"), [(3, MAX_LENGTH, 4), (1, MAX_LENGTH, 1000), (2, 2, 64), (2, 1, 64)]
)
@pytest.mark.parametrize("in_place", [True, False])
def test_warming_up_changes_no_answer(standard, expected, tmp_path, slots, max_length, chunk, in_place):
    """Nor does it need room for more than the slots have."""
    path = tmp_path / "model.onnx"
    path.write_bytes(graph() if in_place else standard["fp32"].read_bytes())
    decoder = open_decoder(str(path), slots, max_length, threads=1, in_place=in_place)
    decoder.warm_up(chunk)
    scheduler = Scheduler(decoder, 100, chunk)
    if in_place:
        callers = [
            Caller(scheduler, prompt[:max_length], min(8, max_length - len(prompt[:max_length]) + 1))
            for prompt in PROMPTS
        ]
    else:
        callers = [Wanted(scheduler, expected[0], min(8, max_length)) for _ in range(3)]
    finish_all(scheduler)
    for caller in callers:
        (caller.assert_as_alone if in_place else caller.assert_as_pytorch)()


def test_warming_up_runs_what_requests_run():
    """A piece of a prompt, one row and all rows, so that none of their shapes is new to the first request."""
    watched = Watched()
    Decoder(watched, HostCache(layout_of(watched, 3, MAX_LENGTH))).warm_up(4)
    rows = [shape[0] for _, shape in watched.bound["past_key_values.0.key"]]
    assert (watched.runs, sorted(set(rows))) == (3, [1, 3])


def test_a_decoder_says_what_it_takes(standard):
    """For the server's log: the memory, what it is made of, and where it is."""
    text = str(open_standard(standard, "fp16", slots=2, max_length=128))
    assert text == "0 MiB for keys and values (2 slots of 128 tokens, 2 layers, 4 heads of 8, float16) on cpu"


@pytest.mark.parametrize(
    ("version", "least", "new_enough"),
    [
        ("1.9.0", "1.20", False),
        ("1.19.2", "1.20", False),
        ("1.20.0", "1.20", True),
        ("1.20.0rc1", "1.20", True),
        ("1.24.0.dev20251031001", "1.20", True),
        ("1.100.0", "1.20", True),
        ("2.0.0", "1.20", True),
    ],
)
def test_an_old_onnxruntime_is_refused(monkeypatch, version, least, new_enough):
    """Versions are compared as numbers; the error names both."""
    monkeypatch.setattr(onnxruntime, "__version__", version)
    if new_enough:
        require_onnxruntime(least)
    else:
        with pytest.raises(RuntimeError, match=f"needs onnxruntime {least} or newer; this is {version}"):
            require_onnxruntime(least)
