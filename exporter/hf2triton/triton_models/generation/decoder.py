"""A decoder graph with GroupQueryAttention, run in slots.

    inputs   input_ids, attention_mask, position_ids, past_key_values.N.key and .value
    outputs  logits, present.N.key and .value

A slot is one row of the cache. The decoder fills one slot with a piece of a prompt, or advances the first n slots by one token
each, whatever their lengths: the op computes each row's length from the sum of its attention mask.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..sessions import PROVIDERS, open_session
from .cache import DeviceCache, HostCache, Layout

logger = logging.getLogger(__name__)

DTYPES: Mapping[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}
PAST = "past_key_values."
#: An optional input of graphs: the first position whose logits are computed.
FROM = "logits_from"
#: Its value if no logits are wanted.
BEYOND = np.array([np.iinfo(np.int64).max])


class Decoder:
    """The session and its cache. Not thread-safe: one thread runs it."""

    def __init__(self, session: Any, cache: HostCache | DeviceCache) -> None:
        self._session = session
        self._cache = cache
        self._bindings: dict[tuple[int, int, bool], Any] = {}
        logits = _named(session.get_outputs(), "logits")
        self.slots = cache.layout.slots
        self.max_length = cache.layout.max_length
        self.vocabulary = _size(logits, -1, "the size of the vocabulary")
        self._skips_logits = any(value.name == FROM for value in session.get_overridable_initializers())
        # bound once and written in every step; always on the CPU, where the samplers run
        self._logits = np.empty((self.slots, 1, self.vocabulary), _dtype(logits))

    def __str__(self) -> str:
        return f"{self._cache.layout} on {self._cache.device}"

    def warm_up(self, chunk: int) -> None:
        """Runs what every request needs once, so the first request does not wait for it."""
        chunk = min(chunk, self.max_length - 1)
        if chunk:
            self.prefill(0, [0] * chunk, 0)
        for rows in {1, self.slots}:
            self.step([0] * rows, [chunk] * rows)

    def prefill(self, slot: int, tokens: Sequence[int] | NDArray[Any], length: int) -> None:
        """Appends a piece of a prompt to a slot that holds `length` positions. Returns no logits: a prompt's last token is left
        to `step`."""
        self._run(slot, np.array([tokens]), np.array([length + len(tokens)]), logits=False)

    def step(self, tokens: Sequence[int], lengths: Sequence[int], slot: int = 0) -> NDArray[Any]:
        """Appends one token to each of the slots from `slot` on, which hold `lengths` positions.

        Returns the logits of the next tokens, float32 `[rows, vocabulary]`; the next step of these slots overwrites them. A
        failed step can be repeated, because it only writes behind these positions.
        """
        self._run(slot, np.array(tokens)[:, None], np.array(lengths) + 1, logits=True)
        return self._logits[slot : slot + len(tokens), 0].astype(np.float32, copy=False)

    def check(self, token: int) -> None:
        """Raises ValueError unless the model has this `token`."""
        if not 0 <= token < self.vocabulary:
            raise ValueError(f"token {token} is not one of the model's {self.vocabulary}")

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of a slot into another."""
        self._cache.move(source, target, length)

    def _run(self, slot: int, input_ids: NDArray[Any], lengths: NDArray[Any], logits: bool) -> None:
        """Feeds `input_ids [rows, n]` to `rows` slots from `slot` on, which then hold `lengths [rows]` positions.

        GroupQueryAttention allows n > 1 only for a single row, and needs a mask exactly as wide as the longest row.
        """
        feeds = {
            "input_ids": input_ids.astype(np.int64),
            "attention_mask": (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64),
            "position_ids": positions(input_ids, lengths),
        }
        binding = self._binding(slot, len(input_ids), logits)
        for (
            name,
            array,
        ) in feeds.items():  # the binding only points to the arrays; `feeds` keeps them alive until the run ends
            binding.bind_cpu_input(name, array)
        self._session.run_with_iobinding(binding)

    def _binding(self, slot: int, rows: int, logits: bool) -> Any:
        """The binding of `rows` slots of the cache as past and present; made once for each range, because there are few."""
        key = (slot, rows, logits)
        if key not in self._bindings:
            binding, cache = self._session.io_binding(), self._cache
            where, shape = (cache.device, cache.device_id, cache.layout.dtype.type), (rows, *cache.layout.shape[1:])
            if logits:
                row = self._logits[slot : slot + rows]
                binding.bind_output("logits", "cpu", 0, row.dtype.type, row.shape, row.ctypes.data)
            elif self._skips_logits:
                # onnxruntime computes even outputs that nobody fetches: https://github.com/microsoft/onnxruntime/issues/16013
                import onnxruntime

                binding.bind_ortvalue_input(FROM, onnxruntime.OrtValue.ortvalue_from_numpy(BEYOND))
            for name in cache.layout.names:
                address = cache.address(name, slot)
                binding.bind_input(PAST + name, *where, shape, address)
                binding.bind_output("present." + name, *where, shape, address)
            self._bindings[key] = binding
        return self._bindings[key]


class CopyingDecoder(Decoder):
    """For graphs in standard ops, whose present is a new tensor. Each step copies the cache in and new positions out, so steps
    take longer as the cache fills. The cache is in the memory of this process, wherever the session runs."""

    def __init__(self, session: Any, cache: HostCache) -> None:
        super().__init__(session, cache)
        self._host = cache

    def _run(self, slot: int, input_ids: NDArray[Any], lengths: NDArray[Any], logits: bool) -> None:
        rows, count = input_ids.shape
        before = lengths - count
        past = int(before.max())
        mask = np.ones((rows, past + count), np.int64)
        mask[:, :past] = np.arange(past) < before[:, None]
        feeds: dict[str, NDArray[Any]] = {
            "input_ids": input_ids.astype(np.int64),
            "attention_mask": mask,
            "position_ids": positions(input_ids, lengths),
        }
        names = self._cache.layout.names
        for name in names:
            kept = self._host.rows(name, slot, rows)[:, :, :past].copy()
            for row, length in zip(kept, before, strict=True):
                row[:, length:] = 0  # a NaN left there by a failed request would pass through the mask
            feeds[PAST + name] = kept
        if not logits and self._skips_logits:
            feeds[FROM] = BEYOND
        *present, scores = self._session.run([*(f"present.{name}" for name in names), "logits"], feeds)
        for name, array in zip(names, present, strict=True):
            kept = self._host.rows(name, slot, rows)
            for row, start in enumerate(before):
                kept[row, :, start : start + count] = array[row, :, past:]
        if logits:
            self._logits[slot : slot + rows] = scores


def positions(input_ids: NDArray[Any], lengths: NDArray[Any]) -> NDArray[Any]:
    """The positions of the tokens `[rows, n]` in rows that hold `lengths [rows]` tokens, including these."""
    count = input_ids.shape[1]
    return (lengths[:, None] - count + np.arange(count)).astype(np.int64)


def open_decoder(
    path: str,
    slots: int,
    max_length: int,
    device: str = "cpu",
    device_id: int = 0,
    threads: int = 0,
    in_place: bool = True,
) -> Decoder:
    """Loads the graph at `path` and takes the memory for `slots` sequences of at most `max_length` tokens.

    `in_place`: the graph takes one buffer as past and present, as GroupQueryAttention does. `threads` 0: one for each core this
    process may use. Raises MemoryError if the device lacks the memory, ValueError if it is not such a graph or a size is less
    than 1, and RuntimeError if onnxruntime has no provider for the device.
    """
    session = open_session(path, device, device_id, threads)
    return make_decoder(session, slots, max_length, device, device_id, in_place)


def make_decoder(
    session: Any, slots: int, max_length: int, device: str = "cpu", device_id: int = 0, in_place: bool = True
) -> Decoder:
    """Like `open_decoder`, for a session that is already open, on the same device."""
    layout = layout_of(session, slots, max_length)
    logger.info("taking %s on %s", layout, device if in_place else "cpu")
    if not in_place:
        return CopyingDecoder(session, HostCache(layout))
    if device == "cpu":
        return Decoder(session, HostCache(layout))
    return Decoder(session, DeviceCache(layout, device, device_id, (PROVIDERS[device], {"device_id": device_id})))


def require_onnxruntime(least: str) -> None:
    """Raises RuntimeError if this onnxruntime is older than the graph needs; older ones may give wrong answers."""
    import onnxruntime

    if _version(onnxruntime.__version__) < _version(least):
        raise RuntimeError(f"the graph needs onnxruntime {least} or newer; this is {onnxruntime.__version__}")


def _version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in text.split(".")[:2])


def layout_of(session: Any, slots: int, max_length: int) -> Layout:
    """The layout of a graph's cache, from its `past_key_values` inputs `[batch, heads, past, head_size]`."""
    pasts = [tensor for tensor in session.get_inputs() if tensor.name.startswith(PAST)]
    if not pasts:
        found = ", ".join(tensor.name for tensor in session.get_inputs())
        raise ValueError(f"the graph has no inputs {PAST}N.key and .value; its inputs are {found}")
    heads, head_size = (_size(pasts[0], axis, "its heads and their size") for axis in (1, 3))
    names = tuple(tensor.name.removeprefix(PAST) for tensor in pasts)
    return Layout(names, slots, heads, max_length, head_size, _dtype(pasts[0]))


def _named(tensors: Sequence[Any], name: str) -> Any:
    for tensor in tensors:
        if tensor.name == name:
            return tensor
    raise ValueError(f"the graph has no {name}; it has {', '.join(tensor.name for tensor in tensors)}")


def _size(tensor: Any, axis: int, what: str) -> int:
    """The size of an axis that must be fixed in the graph; onnxruntime reports names for axes that are not."""
    size = tensor.shape[axis]
    if not isinstance(size, int):
        raise ValueError(f"the graph's {tensor.name} has the shape {tensor.shape}; {what} must be fixed")
    return size


def _dtype(tensor: Any) -> np.dtype[Any]:
    if tensor.type not in DTYPES:
        known = ", ".join(dtype.name for dtype in DTYPES.values())
        raise ValueError(f"the graph's {tensor.name} is {tensor.type}; served are {known}")
    return DTYPES[tensor.type]
