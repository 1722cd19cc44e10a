"""The keys and values of all slots: one allocation for each layer's key and value tensors, on the device where the session runs.

The decoder binds a range of slots as past and present at once. So GroupQueryAttention writes each new position in place, and
nothing is copied between steps. Only moving one slot into another copies data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """The shape of a cache. `names`: the tensors `0.key`, `0.value`, `1.key`, …, each `[slots, heads, max_length, head_size]`."""

    names: tuple[str, ...]
    slots: int
    heads: int
    max_length: int
    head_size: int
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        for name in ("slots", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.slots, self.heads, self.max_length, self.head_size

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot in one tensor."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of all tensors together."""
        return len(self.names) * self.slots * self.slot_bytes

    def __str__(self) -> str:
        return (
            f"{self.bytes / 2**20:,.0f} MiB for keys and values ({self.slots} slots of {self.max_length} tokens, "
            f"{len(self.names) // 2} layers, {self.heads} heads of {self.head_size}, {self.dtype})"
        )


class HostCache:
    """A cache in the memory of this process, for sessions on the CPU.

    Raises MemoryError if the machine, or the container's limit, lacks the memory.
    """

    device, device_id = "cpu", 0

    def __init__(self, layout: Layout) -> None:
        available = available_memory()
        if layout.bytes > available:
            raise _too_large(layout, f"{available / 2**20:,.0f} MiB are available")
        self.layout = layout
        self._arrays = {name: np.empty(layout.shape, layout.dtype) for name in layout.names}
        for array in self._arrays.values():  # touch it now, so that memory cannot run out in the middle of a text
            array.fill(0)

    def address(self, name: str, slot: int) -> int:
        """Where a slot of a tensor begins; the slots after it follow."""
        return self._arrays[name].ctypes.data + slot * self.layout.slot_bytes

    def rows(self, name: str, slot: int, rows: int) -> NDArray[Any]:
        """`rows` slots of a tensor from `slot` on, `[rows, heads, max_length, head_size]`, readable and writable."""
        return self._arrays[name][slot : slot + rows]

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of a slot into another."""
        for array in self._arrays.values():
            array[target, :, :length] = array[source, :, :length]


class DeviceCache:
    """A cache in the memory of the device that onnxruntime calls `device`, such as `cuda`.

    onnxruntime has no call that copies part of a device's memory. So a graph with one Identity node, bound to the two addresses,
    does it. It copies whole slots, which takes a fraction of a millisecond on a GPU.
    """

    def __init__(self, layout: Layout, device: str, device_id: int, provider: Any) -> None:
        import onnxruntime

        self.layout, self.device, self.device_id = layout, device, device_id
        try:
            # zeros, not uninitialised: NaNs beyond a row's length would survive a mask that multiplies by 0
            self._values = {
                name: onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(layout.shape, layout.dtype), device, device_id)
                for name in layout.names
            }
        except Exception as error:  # onnxruntime's errors have no common base except Exception
            raise _too_large(layout, f"{device} {device_id} says: {error}") from error
        self._copier = onnxruntime.InferenceSession(COPY, providers=[provider])

    def address(self, name: str, slot: int) -> int:
        return int(self._values[name].data_ptr()) + slot * self.layout.slot_bytes

    def move(self, source: int, target: int, length: int) -> None:
        shape = [self.layout.slot_bytes]
        for name in self.layout.names:
            binding = self._copier.io_binding()
            binding.bind_input("x", self.device, self.device_id, np.uint8, shape, self.address(name, source))
            binding.bind_output("y", self.device, self.device_id, np.uint8, shape, self.address(name, target))
            self._copier.run_with_iobinding(binding)


#: An ONNX model, IR 8 and opset 13: `y = Identity(x)`, uint8 `[n]`. As bytes, because the package `onnx` is not installed in
#: Triton.
COPY = (
    b'\x08\x08:<\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x04copy'
    b"Z\x10\n\x01x\x12\x0b\n\t\x08\x02\x12\x05\n\x03\x12\x01n"
    b"b\x10\n\x01y\x12\x0b\n\t\x08\x02\x12\x05\n\x03\x12\x01nB\x04\n\x00\x10\r"
)

#: Where a container sees its limits (cgroup v2).
CGROUP = "/sys/fs/cgroup"


def available_memory() -> int:
    """How many bytes this process may still take: what Linux reports as available, or if less, the rest of the container's limit
    (cgroup v2, minus what is in use and not reclaimable)."""
    available = int(_fields("/proc/meminfo")["MemAvailable:"]) * 1024
    try:
        limit = Path(CGROUP, "memory.max").read_text(encoding="ascii").strip()
        used = int(_fields(f"{CGROUP}/memory.stat")["anon"])
    except OSError:  # no container, or cgroup v1
        return available
    return available if limit == "max" else min(available, int(limit) - used)


def _fields(path: str) -> dict[str, str]:
    """The first two words of each line, as name and value."""
    return dict(line.split()[:2] for line in Path(path).read_text(encoding="ascii").splitlines())


def _too_large(layout: Layout, why: str) -> MemoryError:
    return MemoryError(f"no room for {layout}: {why}. Serve with fewer slots or a smaller max_length")
