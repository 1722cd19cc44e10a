"""The parts of a config.pbtxt that depend on the device: instances, batching, execution providers, shape profiles, warm-up.

The server or the container's onnxruntime backend reads every key here; the backend refuses other keys or, worse, ignores them.
backend_keys.py is the table of the keys that the backend reads, with sources. A test checks every config against it, and
`hf2triton lint` checks configs that were changed by hand. All other keys are in protobuf/model_config.proto of
triton-inference-server/common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from ...core.layout import WARMUP, warmup_file
from ...core.options import ResolvedOptions
from .. import ENGINES
from ..base import FIRST_RELEASE, ROUND_TO, Served, Setting

#: Frontends for each instance of a graph on a GPU: one reads and answers texts while the graph computes for the other.
FRONTENDS = 2
DTYPES = {"INT64": pb.TYPE_INT64, "FLOAT": pb.TYPE_FP32}


def graph_instances(options: ResolvedOptions) -> pb.ModelInstanceGroup:
    """Where the graph runs: `count` instances on each of `gpus`, or on all GPUs if there are no `gpus`."""
    return pb.ModelInstanceGroup(
        count=options.instances, kind=ENGINES[options.device].instance_kind, gpus=options.gpus or ()
    )


def frontend_instances(options: ResolvedOptions) -> int:
    """How many instances a frontend has: before a graph in another model, or with the graph in its process."""
    if options.runner == "inprocess":
        return options.instances
    return FRONTENDS * options.instances * len(options.gpus or (0,)) if ENGINES[options.device].gpu else 1


def frontend_batching(options: ResolvedOptions) -> pb.ModelDynamicBatching:
    """The queue before a frontend, which mixes requests of all lengths. Waiting requests leave the queue once they form half a
    batch or a whole one."""
    batching = graph_batching(options)
    if options.queue_delay:
        batching.max_queue_delay_microseconds = options.queue_delay
    rows = options.max_batch_size
    if options.queue_delay:
        batching.preferred_batch_size.extend(sorted({max(1, rows // 2), rows}))
    if options.priority_levels:
        batching.priority_levels = options.priority_levels
        batching.default_priority_level = (
            options.priority_levels + 1
        ) // 2  # for requests without a priority; 1 is the highest
    return batching


def graph_batching(options: ResolvedOptions) -> pb.ModelDynamicBatching:
    """The queue before a graph in a separate model. Its calls are already planned, and waiting would only delay them.

    By default, nothing bounds or orders it. With `max_queue_size`, timeouts or priorities, Triton does not prepare a batch while
    the previous one runs (PriorityQueue's `support_prefetching_`), and then it misses wake-ups: on a busy machine, one request
    in a few hundred waits for 500 ms (seen with 2.51, `make bench-stalls`)."""
    batching = pb.ModelDynamicBatching()
    if options.max_queue:
        batching.default_queue_policy.max_queue_size = options.max_queue
    return batching


def add_providers(config: pb.ModelConfig, served: Served) -> None:
    """Adds the parameters and accelerators of the graph's model; none on a CPU."""
    for name, settings in served.engine.accelerators.items():
        values = dict(_values(settings, served))
        if values:
            config.optimization.execution_accelerators.gpu_execution_accelerator.add(name=name, parameters=values)
    for key, value in _values(served.engine.parameters, served):
        config.parameters[key].string_value = value


def add_warmup(config: pb.ModelConfig, served: Served) -> dict[str, bytes]:
    """Adds a warm-up call for each corner, with every input listed; on a CPU, one small call of zeros. Returns the files that the
    calls read: place in the model's folder -> content."""
    files: dict[str, bytes] = {}
    on_gpu = served.engine.gpu
    for sizes in served.corners if on_gpu else [{"batch": 1, "sequence": ROUND_TO, "masks": 1}]:
        name = "x".join(str(sizes[axis]) for axis in ("batch", "sequence") if axis in sizes) if on_gpu else "zeros"
        warmup = config.model_warmup.add(name=name, batch_size=sizes["batch"])
        for value in served.graph.inputs:
            dims = [sizes[dim] if isinstance(dim, str) else dim for dim in value.dims[1:]]
            data: dict[str, Any] = {"zero_data": True}
            if on_gpu and value.name == "attention_mask":  # kernels may take another path if no token is attended to
                ones = np.ones(dims, np.int64).tobytes()
                file = warmup_file(f"ones_{dims[0]}", ones)
                files[f"{WARMUP}/{file}"] = ones
                data = {"input_data_file": file}
            warmup.inputs[value.name].CopyFrom(pb.ModelWarmup.Input(data_type=DTYPES[value.dtype], dims=dims, **data))
    return files


def _values(settings: tuple[Setting, ...], served: Served) -> Iterator[tuple[str, str]]:
    release = served.options.release or FIRST_RELEASE
    for setting in settings:
        value = setting.value(served)
        if value is not None and setting.first <= release:
            yield setting.key, value
