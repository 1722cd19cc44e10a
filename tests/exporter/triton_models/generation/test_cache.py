"""The cache holds each slot's positions, and its memory is known before it is taken."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from hf2triton.triton_models.generation import cache as caches
from hf2triton.triton_models.generation.cache import COPY, DeviceCache, HostCache, Layout
from hf2triton.triton_models.generation.decoder import Decoder, layout_of

from .tiny_decoder import CACHES, MAX_LENGTH, PROMPTS, session


@pytest.mark.parametrize("cache", CACHES)
def test_a_slot_moves_with_what_it_holds(cache):
    """A move takes the slot's positions along in every tensor and leaves the other slots alone."""
    runs = session()
    decoder = Decoder(runs, CACHES[cache](layout_of(runs, 3, MAX_LENGTH)))
    for slot, prompt in enumerate(PROMPTS[:3]):
        decoder.prefill(slot, prompt, 0)
    tokens, lengths = [7, 8, 9], [len(prompt) for prompt in PROMPTS[:3]]
    before = decoder.step(tokens, lengths).copy()
    decoder.move(1, 0, lengths[1])
    after = decoder.step([8, 8, 9], [lengths[1], *lengths[1:]])
    np.testing.assert_allclose(after, before[[1, 1, 2]], atol=1e-5)


def test_the_graph_that_copies_is_what_it_says():
    """The bytes are a valid model of one Identity node over bytes."""
    model = onnx.load_from_string(COPY)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((0, 4, 16, 8), "slots must be 1 or more, not 0"), ((2, 4, -1, 8), "max_length must be 1 or more, not -1")],
)
def test_a_cache_of_nothing_is_refused(sizes, message):
    """Without a slot every request would wait for ever."""
    with pytest.raises(ValueError, match=message):
        Layout(("0.key", "0.value"), *sizes, np.dtype(np.float32))


def test_memory_is_stated_and_refused_before_it_is_taken(monkeypatch):
    """What the slots would need is said with what is available, on the host and on a device."""
    layout = Layout(("0.key", "0.value"), slots=8, heads=12, max_length=1024, head_size=64, dtype=np.dtype(np.float32))
    assert layout.bytes == 2 * 8 * 12 * 1024 * 64 * 4
    monkeypatch.setattr(caches, "available_memory", lambda: 2**20)
    with pytest.raises(MemoryError, match=r"no room for 48 MiB .*8 slots of 1024 tokens.*: 1 MiB are available"):
        HostCache(layout)
    with pytest.raises(MemoryError, match=r"no room for 48 MiB .*nodevice 0 says"):
        DeviceCache(layout, "nodevice", 0, "CPUExecutionProvider")


def test_available_memory_keeps_to_the_machine_and_the_container(monkeypatch, tmp_path):
    """It is no more than the machine has, nor than the container's limit leaves beside what is in use."""
    monkeypatch.setattr(caches, "CGROUP", str(tmp_path))
    with Path("/proc/meminfo").open() as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < caches.available_memory() <= total
    (tmp_path / "memory.stat").write_text("anon 400000\nfile 900000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert caches.available_memory() == 600000
    (tmp_path / "memory.max").write_text("max\n")
    assert 600000 < caches.available_memory() <= total
