"""Memory that images take at the same time is bounded, and goes back to the system, where the C library can do that."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf2triton.triton_models import memory
from hf2triton.triton_models.memory import LARGE, Budget, Returns, give_back, reuse_blocks

from .pictures import VIT, encoded, noise


def libc(monkeypatch, **functions):
    """Another C library, with these functions alone; the names of the libraries that are looked for."""
    asked = []
    monkeypatch.setattr(memory, "CDLL", lambda name: asked.append(name) or SimpleNamespace(**functions))
    return asked


@pytest.mark.parametrize("function", [reuse_blocks, give_back])
def test_another_c_library_is_left_alone(function, monkeypatch):
    """What is not glibc has neither function: then nothing is called, and nothing fails."""
    asked = libc(monkeypatch)
    function()
    assert asked == [None]


def test_glibc_is_told_its_own_defaults(monkeypatch):
    """M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD -1, in bytes."""
    told = []
    libc(monkeypatch, mallopt=lambda *option: told.append(option))
    reuse_blocks()
    assert told == [(-3, 32 << 20), (-1, 64 << 20)]


def test_memory_is_given_back(monkeypatch):
    """With nothing kept at the top of the heap; the real function is there or not."""
    give_back()
    told = []
    libc(monkeypatch, malloc_trim=told.append)
    give_back()
    assert told == [0]


@pytest.fixture
def given(monkeypatch):
    """Counts the times that memory was given back, instead of doing so."""
    times = threading.Semaphore(0)
    monkeypatch.setattr(memory, "give_back", times.release)
    return times


def test_small_batches_give_nothing_back(given):
    """No thread is started for them."""
    before = threading.active_count()
    Returns(pause=0).after(LARGE - 1)
    assert threading.active_count() == before
    assert not given.acquire(blocking=False)


def test_batches_are_cleaned_up_after_once(given):
    """Those that come while a clean-up waits have it wait on, and the next has one of its own."""
    returns = Returns(pause=0.2)
    for _ in range(5):
        returns.after(LARGE)
    assert given.acquire(timeout=60)
    assert not given.acquire(timeout=0.5)
    returns.after(LARGE)
    assert given.acquire(timeout=60)


def test_a_budget_is_shared():
    """What does not fit waits for what is held; what needs more than there is waits for all of it, and is then alone."""
    budget, order = Budget(10), []

    def hold(size):
        with budget.held(size):
            order.append(size)

    with budget.held(6):
        with budget.held(4):
            threads = [threading.Thread(target=hold, args=(size,)) for size in (5, 99)]
            for thread in threads:
                thread.start()
            assert order == []
        threads[0].join(0.1)
        assert order == []
    for thread in threads:
        thread.join(60)
    assert sorted(order) == [5, 99]
    assert budget.most() == 10
    assert budget.most() == 0


def test_a_budget_is_freed_by_what_fails():
    """An image that is refused holds nothing."""
    budget = Budget(10)
    with pytest.raises(ValueError, match="broken"), budget.held(10):
        raise ValueError("broken")
    with budget.held(10):
        assert budget.most() == 10


#: Kinds of images, of 1.5 million pixels, as Pillow writes them: mode, format, options.
KINDS = {
    "PNG": ("RGB", "PNG", {}),
    "PNG with a transparent colour": ("RGB", "PNG", {"transparency": (1, 2, 3)}),
    "PNG with alpha": ("RGBA", "PNG", {}),
    "PNG in grey with alpha": ("LA", "PNG", {}),
    "PNG in grey": ("L", "PNG", {}),
    "PNG with a palette": ("P", "PNG", {"transparency": 0}),
    "JPEG": ("RGB", "JPEG", {}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "CMYK JPEG": ("CMYK", "JPEG", {}),
    "WebP": ("RGB", "WEBP", {"method": 0}),
    "GIF": ("P", "GIF", {"transparency": 0}),
    "BMP": ("RGB", "BMP", {}),
    "TIFF": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "floats": ("F", "TIFF", {"compression": "tiff_adobe_deflate"}),
}
#: Measures how far the memory of a process rises while it decodes and prepares a file.
RISE = """
import json, sys
from hf2triton.triton_models.image_files import EncodedImage
from hf2triton.triton_models.images import ImageEncoder
from hf2triton.triton_models.memory import give_back
encoder = ImageEncoder(json.loads(sys.argv[1]), 1 << 25, 1 << 26, 1)
def memory(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    encoder.encode([data[:99]])
    give_back()
    file = EncodedImage(data, 1 << 26)
    print(file.bytes_in("RGB") + encoder._bytes_of_resizing(*file.size), end=" ")
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS")
    [result] = encoder.encode([data])
    assert result.shape == (3, 224, 224), result
    print(memory("VmHWM") - before)
"""


def test_memory_is_what_was_held_for_it(tmp_path):
    """Decoding and preparing an image takes no more than the bytes that were held in the budget, whatever its kind."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the kernel tells no peak of memory")
    picture = noise(500, 400).resize((1500, 1000))
    for name, (mode, format, options) in KINDS.items():
        (tmp_path / name).write_bytes(encoded(picture.convert(mode), format, **options))
    command = [sys.executable, "-c", RISE, json.dumps(VIT), *(str(tmp_path / name) for name in KINDS)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for name, line in zip(KINDS, lines, strict=True):
        held, rise = map(int, line.split())
        assert rise <= held + (3 << 20), name
