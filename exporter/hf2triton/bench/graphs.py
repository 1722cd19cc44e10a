"""onnxruntime in process: runs an entry's graph and its frontend's preprocessor, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf2triton_client.loadgen.load import MOST_CALLERS, Generated

from ..checkpoint.preprocessing import items_of
from ..core.frontend_settings import read_encoder_settings
from ..core.layout import TOKENIZER
from ..parity.local_runner import ConcurrentLocalTexts
from ..triton_models.preprocessors import make_preprocessor
from ..triton_models.sessions import no_saturation, open_session
from .contender import Direct
from .inputs import Batch
from .job import BenchJob, Unavailable

#: The maximum number of texts that are generated together.
SLOTS = 8


class OnnxRuntime(Direct):
    """Runs the graph with `threads` threads per call, padded to the longest item of a batch. Several calls share the
    threads."""

    most_callers = 4

    def __init__(self, job: BenchJob) -> None:
        import onnxruntime

        super().__init__(job)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        no_saturation(options)
        options.log_severity_level = 3
        with _unavailable():
            self._session = open_session(job.graph, job.device, 0, job.threads, options)
        folder = Path(job.folder)
        tokenizer = folder / TOKENIZER
        definition = tokenizer.read_text(encoding="utf-8") if tokenizer.exists() else None
        self._preprocessor = make_preprocessor(read_encoder_settings(folder).reader, definition)

    def ask(self, batch: Batch) -> list[Any]:
        rows = [row for item in items_of(self._preprocessor, batch) for row in item.rows]
        outputs: list[Any] = self._session.run(None, self._preprocessor.feeds(rows))
        return outputs


class GeneratingOnnxRuntime(Direct):
    """The frontend's scheduler, with a slot for each caller of the loads, up to the served model's default."""

    def __init__(self, job: BenchJob) -> None:
        super().__init__(job)
        slots = min(max(load.concurrency or SLOTS for load in job.loads), SLOTS)
        options = {"threads": job.threads, "device": job.device, "max_queue": MOST_CALLERS}
        with _unavailable():
            self._texts = ConcurrentLocalTexts(Path(job.folder), slots, **options)

    def ask(self, batch: Batch) -> Generated:
        answer, first = self._texts.timed({name: values[0] for name, values in batch.items()})
        return Generated(sum(answer.counts), first)


@contextmanager
def _unavailable() -> Iterator[None]:
    """Raises Unavailable if onnxruntime cannot run on the device."""
    try:
        yield
    except RuntimeError as error:
        raise Unavailable(str(error)) from error
