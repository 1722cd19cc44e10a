"""What can be asked of an export. Each field is an option of `hf2triton export` and a key of build files. Its metadata says how
it is given and what it means: the command line, the build file and its schema are made of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any


class Place(Enum):
    """Where an option can be given: on the command line, and in a build file for one entry or for all."""

    COMMAND = "command"
    ENTRY = "entry"
    DEFAULTS = "defaults"


class Kind(Enum):
    """What an option's values are; cli/options.py and build/file.py have a row for each."""

    TEXT = "text"
    CHOICE = "choice"
    NUMBER = "number"
    NUMBERS = "numbers"
    SIZE = "size"
    FLAG = "flag"
    YES_OR_NO = "yes or no"
    FILE = "file"
    FILE_OR_FOLDER = "file or folder"
    SOURCE = "folder or package"
    RELEASE = "release"
    TASK = "task"
    DEVICE = "device"
    LABELS = "labels"
    TOLERANCES = "tolerances"


@dataclass(frozen=True)
class Option:
    """How a field is given. `default`: what happens without it, in words, where the field's own default does not say so.
    `choices`, `least` and `most`: which values there are. `places`: where it can be given. `recorded`: manifests hold its value
    as it is, since another one would make another entry."""

    kind: Kind
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    places: tuple[Place, ...] = (Place.COMMAND, Place.ENTRY, Place.DEFAULTS)
    recorded: bool = True


_OF_ENTRY, _OF_FILE = (Place.COMMAND, Place.ENTRY), (Place.ENTRY,)
#: The most bytes that a file of an ONNX graph can hold.
_LARGEST_FILE = (1 << 31) - 1
#: What a graph may be exported in.
PRECISIONS = ("fp32", "fp16", "int8")


def _option(value: Any, kind: Kind, help: str, **more: Any) -> Any:
    """A field with this default."""
    return field(default=value, metadata={"option": Option(kind, help, **more)})


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export. `engines.resolve` fills in fields that are None, depending on the task and the device.

    `source`: a folder, a hub id, or `package:NAME/FOLDER` for weights that a Python package ships. `name`: of the entry.
    `tolerances`: output -> fields of Tolerance, in place of the task's.
    """

    source: str
    name: str
    task: str | None = _option(
        None,
        Kind.TASK,
        "The task, under its name in transformers.pipeline.",
        default="the one it was trained for",
        places=_OF_ENTRY,
        recorded=False,
    )
    adapter: str | None = _option(
        None,
        Kind.SOURCE,
        "A folder with a LoRA adapter to merge into SOURCE. SOURCE itself can also be an adapter.",
        places=_OF_ENTRY,
        recorded=False,
    )
    base_name: str | None = _option(
        None,
        Kind.TEXT,
        "The name of SOURCE in the adapter's settings, if the two names differ.",
        places=_OF_ENTRY,
        recorded=False,
    )
    revision: str | None = _option(
        None, Kind.TEXT, "A branch, tag or commit, if SOURCE is a hub id.", places=_OF_ENTRY, recorded=False
    )
    precision: str = _option("fp16", Kind.CHOICE, "The precision of the graph.", choices=PRECISIONS)
    release: str | None = _option(
        None, Kind.RELEASE, "Adapt the graph to a Triton release, such as 24.08.", default="all from 24.05"
    )
    attention: str | None = _option(
        None,
        Kind.CHOICE,
        "The form of attention in the graph. standard uses only operators of ONNX itself.",
        default="fused, or standard for TensorRT",
        choices=("fused", "fused-any-mask", "standard"),
    )
    device: str = _option("cpu", Kind.DEVICE, "The device that Triton runs the graph on.")
    runner: str | None = _option(
        None,
        Kind.CHOICE,
        "Run the graph in the frontend (inprocess), or as a separate model (bls).",
        default="inprocess, or bls for encoders on a GPU",
        choices=("inprocess", "bls"),
    )
    repository: Path = Path("model_repository")
    max_batch_size: int | None = _option(
        None,
        Kind.NUMBER,
        "The largest batch of texts or images, or the number of sequences generated at the same time.",
        default="64, or 8 sequences",
        least=1,
    )
    instances: int = _option(
        1, Kind.NUMBER, "Instances of the model that computes; on GPUs, instances on each.", least=1
    )
    gpus: tuple[int, ...] | None = _option(
        None, Kind.NUMBERS, "The GPUs to load the model on, such as 0,1.", default="all"
    )
    gpu_memory: int | None = _option(
        None, Kind.SIZE, "The memory of each GPU, such as 24GB. It limits the largest batch.", default="16GB"
    )
    queue_delay: int | None = _option(
        None,
        Kind.NUMBER,
        "Microseconds that a request may wait for others to share its batch.",
        default="500 on a GPU, 0 on a CPU",
    )
    priority_levels: int = _option(0, Kind.NUMBER, "The number of priorities of requests; 1 is the highest.")
    max_queue: int | None = _option(
        None,
        Kind.NUMBER,
        "The number of requests that may wait. Further requests are refused, and no batch is prepared ahead.",
        default="unlimited, or 256 prompts",
        least=1,
    )
    response_cache: bool | None = _option(
        None,
        Kind.YES_OR_NO,
        "Let Triton answer repeated requests from its response cache.",
        default="on a GPU, if all callers ask for the same outputs",
    )
    token_embeddings: bool = _option(
        False,
        Kind.FLAG,
        "Also serve the vectors of a text's tokens, if the task is sentence-similarity. Callers ask for them by name.",
        places=_OF_ENTRY,
    )
    threads: int = _option(0, Kind.NUMBER, "Threads of onnxruntime. 0 means one for each core.")
    allow_pickle: bool = _option(False, Kind.FLAG, "Load pickled weights, which can run code.", recorded=False)
    calibration: Path | None = _option(
        None,
        Kind.FILE_OR_FOLDER,
        "Inputs to measure ranges on: a file with one text per line, a folder of images, or an .npz file of the graph's inputs.",
        default="texts and images that come with hf2triton",
        recorded=False,
    )
    precision_plan: Path | None = _option(
        None,
        Kind.FILE,
        "Keep the nodes in fp32 that are listed in this plan, manifest or report, instead of calibrating.",
        places=_OF_ENTRY,
        recorded=False,
    )
    largest_file: int = _option(
        _LARGEST_FILE,
        Kind.NUMBER,
        "Bytes of weights that fit into the graph's file. With more, the weights are stored next to it.",
        default="2 GB, the maximum",
        least=1,
        most=_LARGEST_FILE,
    )
    labels: tuple[str, ...] | None = _option(
        None,
        Kind.LABELS,
        "Labels to use in place of those of the head: a list, or a mapping from each number.",
        places=_OF_FILE,
    )
    tolerances: Mapping[str, Mapping[str, float | None]] = field(
        default_factory=dict,
        metadata={
            "option": Option(
                Kind.TOLERANCES,
                "For each output, how far it may differ from PyTorch's. This replaces the tolerances of the task.",
                places=_OF_FILE,
            )
        },
    )
    dry_run: bool = _option(
        False, Kind.FLAG, "Do everything except write to the repository.", places=(Place.COMMAND,), recorded=False
    )


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(ExportOptions):
    """The options of an export with nothing left open. `gpu_memory` is None on a CPU."""

    # pyright wants defaults where the base has some, even for fields that are given by name alone
    runner: str  # pyright: ignore[reportGeneralTypeIssues]
    attention: str  # pyright: ignore[reportGeneralTypeIssues]
    max_batch_size: int  # pyright: ignore[reportGeneralTypeIssues]
    queue_delay: int  # pyright: ignore[reportGeneralTypeIssues]
    max_queue: int  # pyright: ignore[reportGeneralTypeIssues]
    response_cache: bool  # pyright: ignore[reportGeneralTypeIssues]


def options_at(place: Place) -> dict[str, tuple[Option, Any]]:
    """The fields that can be given there -> how, and what each is without it."""
    found = {own.name: (own.metadata.get("option"), own.default) for own in fields(ExportOptions)}
    return {name: (own, default) for name, (own, default) in found.items() if own is not None and place in own.places}


def values_of(options: ExportOptions) -> dict[str, Any]:
    """Field -> its value."""
    return {own.name: getattr(options, own.name) for own in fields(options)}


def recorded_names() -> list[str]:
    """The fields whose values manifests hold as they are."""
    return [own.name for own in fields(ExportOptions) if "option" in own.metadata and own.metadata["option"].recorded]
