"""Triton: the served model over gRPC, through shared memory, and on streams if it generates."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hf2triton_client import ClientError, Connection, connect
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.loadgen.load import MOST_CALLERS, Generated
from hf2triton_client.loadgen.results import Load
from hf2triton_client.transport.exchange import Exchange
from hf2triton_client.transport.generation import Prompt
from hf2triton_client.transport.served_model import ServedModel
from hf2triton_client.transport.shared_memory import SharedMemoryCaller

from ..checkpoint.preprocessing import texts_in
from ..core.layout import BASELINE, graph_model
from .contender import Call, ContenderRunner, Direct
from .inputs import Batch
from .job import BenchJob, Unavailable


class Grpc(ContenderRunner):
    """Sends requests prepared in advance, with tensors in the messages. No retries: a refusal is an error."""

    def __init__(self, job: BenchJob) -> None:
        super().__init__(job)
        self._connection = connect(job.url, retries=0, headers=job.headers)
        config = self._connection.model_config(job.model)
        self._model = ServedModel.from_config(config)
        self._outputs = list(Baseline.load(Path(job.folder) / BASELINE).answers)  # of the graph, like the others
        self.threads = _threads(self._connection, config)

    @contextmanager
    def prepare(self, batches: Sequence[Batch], load: Load) -> Iterator[Call]:
        requests = [next(self._model.requests(batch, self._outputs, load.batch_size)) for batch in batches]

        def call(index: int) -> list[Any]:
            result = self._connection.infer(requests[index])
            return [result.as_numpy(name) for name in self._outputs]

        yield call


class SharedMemory(Grpc):
    """The same with inputs and outputs in system shared memory."""

    @contextmanager
    def prepare(self, batches: Sequence[Batch], load: Load) -> Iterator[Call]:
        callers = load.concurrency or MOST_CALLERS
        arguments = (self._connection, self._model, batches, self._outputs, callers)
        with ExitStack() as stack:
            try:
                call = stack.enter_context(SharedMemoryCaller(*arguments))
            except ClientError as error:
                raise Unavailable(f"the server takes no shared memory from here: {error}") from error
            yield call


class Streams(Direct):
    """Sends prompts, each on its own gRPC stream; answers come token by token."""

    def __init__(self, job: BenchJob) -> None:
        super().__init__(job)
        self._connection = connect(job.url, retries=0, headers=job.headers)
        config = self._connection.model_config(job.model)
        self._name = ServedModel.from_config(config).name
        self.threads = _threads(self._connection, config)

    def ask(self, batch: Batch) -> Generated:
        began, first, tokens = time.perf_counter(), 0.0, 0
        text, settings = (texts_in(batch, name)[0] for name in ("text_input", "sampling_parameters"))
        prompt = Prompt(self._name, text, settings, stream=True)
        for answer in Exchange.open(self._connection, prompt):
            first = first or time.perf_counter() - began
            tokens = answer.metadata[0].num_output_tokens
        return Generated(tokens, first)


def _threads(connection: Connection, config: dict[str, Any]) -> int:
    """The threads of one call of the model, or of the graph behind it. If the config does not say, one for each core of this
    machine."""
    behind = connection.find_config(graph_model(config["name"])) or config
    setting = behind.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value")
    return int(setting or 0) or len(os.sched_getaffinity(0))
