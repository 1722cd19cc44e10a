"""The decoder runs a graph over slots of a cache that is bound in place."""

import onnx
import onnxruntime
import pytest

from hf2triton.repository.fronts.generation.cache import COPY, HostCache
from hf2triton.repository.fronts.generation.decoder import Decoder, layout_of, open_decoder
from hf2triton.repository.fronts.generation.engine import Engine

from .callers import Caller, Watched, finish_all
from .tiny_decoder import HEAD_SIZE, HEADS, MAX_LENGTH, PROMPTS, VOCABULARY, alone, graph


def test_the_oracle_is_worth_asking():
    """Its sequences do not collapse into one token, so that equality with them says something."""
    assert min(len(set(alone(prompt, 20))) for prompt in PROMPTS) > 10


def test_a_graph_is_opened_from_its_file(tmp_path):
    """`open_decoder` reads heads, layers and dtype from the graph."""
    path = tmp_path / "model.onnx"
    path.write_bytes(graph())
    decoder = open_decoder(str(path), slots=2, max_length=MAX_LENGTH, threads=1)
    assert (decoder.slots, decoder.max_length, decoder.vocabulary) == (2, MAX_LENGTH, VOCABULARY)
    engine = Engine(decoder, max_queue=0)
    caller = Caller(engine, PROMPTS[1], 5)
    finish_all(engine)
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
    engine = Engine(Decoder(watched, cache), 100, 4)
    moves = []
    cache.move = lambda *arguments: (moves.append(arguments), HostCache.move(cache, *arguments))
    callers = [Caller(engine, prompt, 5 + 3 * n) for n, prompt in enumerate(PROMPTS)]
    finish_all(engine)
    for name in layout.names:
        bound = watched.bound[f"past_key_values.{name}"]
        assert watched.bound[f"present.{name}"] == bound
        starts = [cache.address(name, slot) for slot in range(layout.slots)]
        assert {address for address, _ in bound} <= set(starts)
        assert all(starts.index(address) + shape[0] <= layout.slots for address, shape in bound)
        assert {shape[1:] for _, shape in bound} == {(HEADS, MAX_LENGTH, HEAD_SIZE)}
    statistics = engine.statistics()
    assert len(moves) == statistics.moved <= 2 * len(callers)
    pieces = sum(-(-(len(prompt) - 1) // 4) for prompt in PROMPTS)
    assert watched.runs == statistics.steps + pieces
