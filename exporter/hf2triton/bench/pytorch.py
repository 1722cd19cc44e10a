"""PyTorch in process: the checkpoint as transformers runs it, with attention through scaled_dot_product_attention.

The frontend's own tokenizer or image code reads the inputs. They are padded to the longest item of the batch.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf2triton_client.loadgen.load import Generated
from hf2triton_client.loadgen.results import Load

from ..checkpoint.adapters.merge import merge
from ..checkpoint.adapters.source import find_adapter, with_files_of
from ..checkpoint.loader import load_checkpoint
from ..checkpoint.preprocessing import items_of, preprocessor_of, texts_in
from ..checkpoint.source import find_source
from ..core.types import Checkpoint
from ..parity.decoder_baseline import prompt_ids
from ..tasks.base import Endpoint
from .contender import Call, Direct
from .inputs import Batch
from .job import BenchJob, JobSource, Unavailable


class PyTorch(Direct):
    """fp32 on a CPU, fp16 on a GPU. Calls of an open loop share the threads, so only a few run at a time."""

    most_callers = 4
    compiled = False

    def __init__(self, job: BenchJob) -> None:
        import torch

        super().__init__(job)
        self.precision = {"cpu": "fp32", "cuda": "fp16"}[job.device]
        if job.device == "cuda" and not torch.cuda.is_available():
            raise Unavailable(f"torch {torch.__version__} finds no GPU that it can use")
        torch.set_num_threads(job.threads)
        self._torch, self._device = torch, job.device
        checkpoint, endpoint = load(job.source)
        self._preprocessor = preprocessor_of(checkpoint, endpoint)
        checkpoint.model.to(job.device, torch.float16 if job.device == "cuda" else torch.float32)
        parameters = {id(one): one for one in checkpoint.model.parameters()}.values()
        self.weight_bytes = sum(one.numel() * one.element_size() for one in parameters)
        self._open(checkpoint, endpoint)

    def _open(self, checkpoint: Checkpoint, endpoint: Endpoint) -> None:
        from ..checkpoint.task_model import TaskModel

        module = TaskModel(checkpoint, endpoint)
        self._inputs = module.inputs
        # limiting a head to some positions affects all threads, see checkpoint/task_model.py
        self._turn = threading.Lock() if "mask_positions" in module.inputs else nullcontext()
        self._module = self._torch.compile(module, dynamic=True) if self.compiled else module

    def ask(self, batch: Batch) -> object:
        torch = self._torch
        rows = [row for item in items_of(self._preprocessor, batch) for row in item.rows]
        feeds = self._preprocessor.feeds(rows)
        with torch.inference_mode(), self._turn:
            tensors = [self._to_device(torch.from_numpy(feeds[name])) for name in self._inputs]
            return [output.float().cpu().numpy() for output in self._module(*tensors)]

    def _to_device(self, tensor: Any) -> Any:
        if self._device == "cuda" and tensor.is_floating_point():
            tensor = tensor.half()
        return tensor.to(self._device)

    def about(self) -> str:
        if self._device != "cuda":
            return ""
        return f"{self._torch.cuda.max_memory_allocated() / 1e6:.0f} MB on {self._torch.cuda.get_device_name()}"


class CompiledPyTorch(PyTorch):
    """The same through torch.compile, for inputs of any size."""

    compiled = True

    def prepare(self, batches: Sequence[Batch], load: Load) -> AbstractContextManager[Call]:
        for batch in batches:  # one after another, so everything is compiled now
            self.ask(batch)
        return super().prepare(batches, load)


class GeneratingPyTorch(PyTorch):
    """`model.generate`, greedy, a fixed number of tokens."""

    def _open(self, checkpoint: Checkpoint, endpoint: Endpoint) -> None:
        from transformers import GenerationConfig

        model: Any = checkpoint.model
        # overrides the checkpoint's settings, and never ends a text early
        model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
        if self.compiled:
            model.forward = self._torch.compile(model.forward, dynamic=True)
        self._model = model

    def ask(self, batch: Batch) -> Generated:
        torch = self._torch
        began = time.perf_counter()
        [ids] = prompt_ids(self._preprocessor, texts_in(batch, "text_input"))
        new = json.loads(batch["sampling_parameters"][0])["max_new_tokens"]
        given = torch.tensor([ids], device=self._device)
        watch = _Watch()
        with torch.inference_mode():
            self._model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=new, min_new_tokens=new, streamer=watch
            )
        return Generated(new, watch.first - began)


class CompiledGeneratingPyTorch(GeneratingPyTorch, CompiledPyTorch):
    """The same through torch.compile."""


class _Watch:
    """A streamer for `generate`, which passes it the prompt and then each token."""

    def __init__(self) -> None:
        self._puts, self.first = 0, 0.0

    def put(self, value: Any) -> None:
        self._puts += 1
        if self._puts == 2:
            self.first = time.perf_counter()

    def end(self) -> None:
        pass


def load(source: JobSource) -> tuple[Checkpoint, Endpoint]:
    """The checkpoint with its adapter merged. Raises Unavailable if it has changed since the entry was exported, and the
    errors of an export."""
    pickled = any(name.endswith(".bin") for name in {**(source.digests or {}), **(source.adapter_digests or {})})
    found = find_source(source.given, source.revision, allow_pickle=pickled)
    if source.digests is not None and dict(found.digests) != dict(source.digests):
        raise Unavailable(
            f"{source.given} has changed since it was exported: give what is to be measured with --source"
        )
    adapter = None
    if source.adapter is not None:
        adapter = find_adapter(Path(source.adapter), allow_pickle=pickled)
        adapter = replace(adapter, base_name=adapter.base)  # the export has already checked that they belong together
        if source.adapter_digests is not None and dict(adapter.digests) != dict(source.adapter_digests):
            raise Unavailable(f"{source.adapter} has changed since it was merged: give one that has not with --adapter")
        found = with_files_of(adapter, found)
    checkpoint = load_checkpoint(found, source.task, adapter)
    if adapter is not None:
        checkpoint = merge(checkpoint, adapter)
    [endpoint] = [endpoint for endpoint in checkpoint.task.endpoints if endpoint.suffix == source.suffix]
    return checkpoint, endpoint
