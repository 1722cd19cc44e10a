"""Calls a served model through system shared memory: tensors stay in place, and only their locations are sent.

The server must run on this machine, see the same /dev/shm, and allow clients to register regions. Triton allows it by default
up to 26.03; the embedded server allows it if it is started with `shared_memory`.
"""

from __future__ import annotations

import os
import queue
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from ..error_rows import Reason
from ..errors import ClientError
from .connection import Connection
from .served_model import ServedModel, output_of

#: Tensors in a region begin at multiples of this many bytes.
_ALIGNMENT = 64
#: Seconds until Triton is asked again to release a region that it still uses.
_PAUSE = 0.02


class _Region(NamedTuple):
    """A region of shared memory: its name, for the server and for the system, and tritonclient's handle for it."""

    name: str
    handle: Any


class _Place(NamedTuple):
    """Where the outputs of one call go. `offsets`: where each output begins in the region."""

    region: _Region
    outputs: list[triton.InferRequestedOutput]
    offsets: Mapping[str, int]


class SharedMemoryCaller:
    """Runs a served model on prepared batches through shared memory, within a `with` block. Threads can share it.

        with SharedMemoryCaller(connection, model, [{"text": ["one"]}, {"text": ["two"]}], ["logits"], callers=8) as call:
            call(1)     # output name -> array, of the second batch

    All inputs are in one region, which is written once. Each of the `callers` simultaneous calls has a region for its outputs.
    It is sized for the largest answer to any of the batches; to find that size, each batch is sent once over plain gRPC.
    Outputs are numbers, not strings. Leaving the block, or an error while entering it, unregisters and removes the regions.
    Raises the errors of a connection, including those for regions that the server refuses or does not find.
    """

    _client: Any  # tritonclient's, which declares no types

    def __init__(
        self,
        connection: Connection,
        model: ServedModel,
        batches: Sequence[Mapping[str, Sequence[str | bytes]]],
        outputs: Sequence[str],
        callers: int,
    ) -> None:
        self._connection = connection
        self._target = connection.target
        self._model = model
        self._batches = batches
        self._names = tuple(outputs)
        self._callers = callers
        self._stack = ExitStack()
        self._inputs: list[list[triton.InferInput]] = []
        self._places: queue.SimpleQueue[_Place] = queue.SimpleQueue()

    def __enter__(self) -> SharedMemoryCaller:
        with ExitStack() as stack:
            with self._target.errors_mapped():
                self._client = triton.InferenceServerClient(**self._target.client_arguments())
            stack.callback(self._client.close)
            self._write_inputs(stack)
            self._make_places(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, index: int) -> dict[str, NDArray[Any]]:
        place = self._places.get()
        try:
            with self._target.errors_mapped():
                result = self._client.infer(
                    self._model.name, self._inputs[index], outputs=place.outputs, **self._call_arguments()
                )
            return {output.name: _read(place, output) for output in result.get_response().outputs}
        finally:
            self._places.put(place)

    def _write_inputs(self, stack: ExitStack) -> None:
        from tritonclient.utils import shared_memory

        contents = [
            {name: (len(values), _serialized(values)) for name, values in batch.items()} for batch in self._batches
        ]
        region = self._region(stack, sum(_aligned(len(content)) for own in contents for _, content in own.values()))
        offset = 0
        for own in contents:
            self._inputs.append([])
            for name, (rows, content) in own.items():
                shared_memory.set_shared_memory_region(region.handle, [np.array(content, np.object_)], offset)
                tensor = triton.InferInput(name, [rows, 1], "BYTES")
                tensor.set_shared_memory(region.name, len(content), offset)
                self._inputs[-1].append(tensor)
                offset += _aligned(len(content))

    def _make_places(self, stack: ExitStack) -> None:
        sizes = dict.fromkeys(self._names, 0)
        for batch in self._batches:
            for request in self._model.requests(batch, self._names, self._model.max_batch_size):
                result = self._connection.infer(request)
                sizes = {name: max(size, output_of(result, name).nbytes) for name, size in sizes.items()}
        for _ in range(self._callers):
            region = self._region(stack, sum(map(_aligned, sizes.values())))
            outputs, offsets, offset = [], {}, 0
            for name, size in sizes.items():
                outputs.append(triton.InferRequestedOutput(name))
                outputs[-1].set_shared_memory(region.name, size, offset)
                offsets[name] = offset
                offset += _aligned(size)
            self._places.put(_Place(region, outputs, offsets))

    def _region(self, stack: ExitStack, size: int) -> _Region:
        """Returns a new region that the server knows until `stack` is closed."""
        from tritonclient.utils import shared_memory

        name = f"hf2triton-client-{os.getpid()}-{secrets.token_hex(4)}"
        handle = shared_memory.create_shared_memory_region(name, name, size, create_only=True)
        stack.callback(shared_memory.destroy_shared_memory_region, handle)
        arguments = self._call_arguments()
        with self._target.errors_mapped():
            self._client.register_system_shared_memory(name, f"/{name}", size, **arguments)
        stack.callback(self._unregister, name)
        return _Region(name, handle)

    def _unregister(self, name: str) -> None:
        """Unregisters a region. Triton still uses it for a moment after the answer, and refuses to release it during that
        time."""
        until = time.monotonic() + self._target.timeout
        while True:
            try:
                with self._target.errors_mapped():
                    self._client.unregister_system_shared_memory(name, **self._call_arguments())
                    return
            except ClientError as error:
                if error.reason is not Reason.IN_USE or time.monotonic() > until:
                    raise
            time.sleep(_PAUSE)

    def _call_arguments(self) -> dict[str, Any]:
        return {"headers": dict(self._target.headers), "client_timeout": self._target.timeout}


def _read(place: _Place, output: Any) -> NDArray[Any]:
    """Returns a copy of an output: the region is reused at once, and cannot be removed while an array refers to it."""
    from tritonclient.utils import shared_memory

    dtype, shape = triton_to_np_dtype(output.datatype), list(output.shape)
    return np.array(shared_memory.get_contents_as_numpy(place.region.handle, dtype, shape, place.offsets[output.name]))


def _serialized(values: Sequence[str | bytes]) -> bytes:
    """Returns a STRING tensor in the protocol's form: each string after its length."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return bytes(serialize_byte_tensor(np.array(encoded, np.object_)).item())


def _aligned(size: int) -> int:
    return max(-(-size // _ALIGNMENT), 1) * _ALIGNMENT
