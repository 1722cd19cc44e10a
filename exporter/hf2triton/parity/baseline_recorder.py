"""Records PyTorch's answers to the user's data without an export, for `hf2triton baseline` and `validate --source`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.datasets import read_questions

from ..checkpoint.loading import load
from ..core.options import ExportOptions
from ..core.stages import Progress, Stages
from ..engines import ENGINES
from ..errors import UsageError
from ..tasks import find_task
from ..tasks.base import Inputs

#: The maximum number of a file's texts whose tensors are recorded; answers are recorded for all texts.
MOST_ITEMS = 256


def record(
    options: ExportOptions, dataset: Path | None, columns: Mapping[str, str], progress: Progress = lambda stage: None
) -> dict[str, Baseline]:
    """Suffix of each frontend of the task -> its baseline: tensors, decoded answers and correct answers for a labelled file, or
    for real inputs that come with hf2triton. For a generative model, texts are scored.

    `options`: only source, task, adapter, base_name, revision and allow_pickle matter. Raises the errors of errors.py and
    InputError.
    """
    from ..checkpoint.preprocessing import preprocessing_digest
    from .graph_kinds import GRAPH_KINDS

    if options.task is not None and dataset is not None:
        read_questions(dataset, find_task(options.task).name, columns)  # fail before minutes of work
    stages = Stages(progress)
    checkpoint, _ = load(stages, options)
    task, asked = checkpoint.task, None
    endpoints = task.endpoints
    inputs: Mapping[str, Inputs] = {}
    if dataset is not None:
        if task.inputs is None:
            raise UsageError(f"no labelled data are read for {task.name}")
        asked = read_questions(dataset, task.name, columns)
        if endpoints[-1].modality == "image":
            asked = replace(asked, inputs=tuple(Path(one).read_bytes() for one in asked.inputs))
        inputs = task.inputs(asked)
    recorded = {}
    for endpoint in endpoints:
        run, kind = stages.of(endpoint.suffix), GRAPH_KINDS[endpoint.kind]
        precisions = ENGINES["cpu"].precisions[endpoint.kind]
        most = MOST_ITEMS if endpoint.modality == "text" else None  # questions need the images too
        taken = None if asked is None else {name: values[:most] for name, values in inputs[endpoint.suffix].items()}
        questions = asked if endpoint is endpoints[-1] else None
        baseline = run("ask PyTorch", kind.record_baseline, checkpoint, endpoint, precisions[0], taken, questions)
        recorded[endpoint.suffix] = replace(
            baseline,
            about={
                **baseline.about,
                "preprocessing": preprocessing_digest(checkpoint, endpoint),
                "dataset": None if dataset is None else dataset.name,
                "id2label": {str(index): label for index, label in checkpoint.id2label.items()},
            },
            others={name: kind.tolerances(checkpoint, endpoint, name) for name in precisions[1:]},
        )
    return recorded
