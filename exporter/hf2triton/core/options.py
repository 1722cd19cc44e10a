"""What can be asked of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ExportOptions:
    """What the user asked for, checked. `source` is a folder, a hub id, or `package:NAME/FOLDER` for weights that a Python
    package ships; `task` None means: infer it.

    What is None is settled by `resolve.settle`, as the task and the device want it.

    `base_name`: what the adapter calls the source, where its own name does not tell. `labels`: in place of the head's own.
    `tolerances`: output -> fields of Tolerance, in place of the task's. `instances`: of whichever model computes.
    `max_batch_size`: rows, images or generated sequences that are computed at once; None: what suits the task. `calibration`:
    a file or folder of inputs. `gpus`: their numbers; None: all. `gpu_memory`: bytes of each. `queue_delay`: µs that a request
    may wait for others. `max_queue`: requests that may wait at all. `precision_plan`: a file with a plan, or None: make one.
    `largest_file`: bytes of weights that may be in the graph's own file.
    """

    source: str
    name: str
    task: str | None = None
    adapter: str | None = None
    base_name: str | None = None
    revision: str | None = None
    precision: str = "fp16"
    release: str | None = None
    attention: str | None = None
    device: str = "cpu"
    runner: str | None = None
    repository: Path = Path("model_repository")
    max_batch_size: int | None = None
    instances: int = 1
    gpus: tuple[int, ...] | None = None
    gpu_memory: int | None = None
    queue_delay: int | None = None
    priority_levels: int = 0
    max_queue: int | None = None
    response_cache: bool | None = None
    threads: int = 0
    allow_pickle: bool = False
    calibration: Path | None = None
    precision_plan: Path | None = None
    largest_file: int = (1 << 31) - 1
    labels: tuple[str, ...] | None = None
    tolerances: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    dry_run: bool = False
