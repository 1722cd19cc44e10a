"""What can go wrong in an export, and the exit code of each.

Hf2TritonError                     1  base; carries the stage that failed, once a stage has
├── UsageError                     2  an option's value is wrong
│   └── UnknownName                2  a name that is not in its table; lists the known ones
├── MissingExtra                   1  a command needs packages that are not installed
├── MissingPackage                 1  a place needs a package that no extra brings
├── SourceError                    1  the checkpoint cannot be used
│   ├── UnsupportedArchitecture    1  an architecture that no family covers; lists those that are
│   ├── HeadMissing                1  the checkpoint has no trained head for the task
│   ├── WeightsError               1  weights that are missing, corrupt or pickled
│   ├── TokenizerMissing           1  no tokenizer that can be served
│   └── AdapterError               1  an adapter cannot be used, or not with this base
├── ExportError                    1  PyTorch's exporter or a graph pass failed
├── ParityError                    3  the exported model is not the model that was trained
├── RepositoryError                1  the model repository cannot be read or written
│   └── NewerFormat                1  a file of an entry that a later hf2triton has written
├── ServingError                   1  the embedded Triton cannot run here, or failed
│   └── ControlRefused             1  the server lets nobody change its models without a key, and was not given it
├── ScoringError                   1  a set could not be scored; what is done is kept
└── RuntimeUnavailable             1  no environment with an onnxruntime could be made
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Hf2TritonError(Exception):
    """Base class of all errors of this package.

    `stage`: the stage of an export that failed, None for errors outside an export. `done`: the stages that were completed
    before it. `exit_code`: the exit code of the command line.
    """

    exit_code = 1
    stage: str | None = None
    done: tuple[str, ...] = ()


class UsageError(Hf2TritonError):
    """An option's value is wrong."""

    exit_code = 2


class UnknownName(UsageError):
    """A task, device or other name is unknown. The message lists the known ones."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        super().__init__(f"{kind} {str(name)!r} is unknown; known are {', '.join(known)}")


class MissingExtra(Hf2TritonError):
    """A command needs packages that are not installed."""

    def __init__(self, what: str, extra: str, module: str | None) -> None:
        super().__init__(f"{what} needs the package {module!r}; install it with: pip install 'hf2triton[{extra}]'")


class MissingPackage(Hf2TritonError):
    """A repository's URL needs a package that no extra installs, such as s3fs."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(f"{what} needs the package {package!r}; install it with: pip install {package}")


class SourceError(Hf2TritonError):
    """The checkpoint cannot be used."""


class UnsupportedArchitecture(SourceError):
    """No family covers the architecture. The message lists the families."""


class HeadMissing(SourceError):
    """The checkpoint has no trained head for the task."""


class WeightsError(SourceError):
    """Weights are missing, corrupt or pickled."""


class TokenizerMissing(SourceError):
    """The checkpoint has no tokenizer that can be served."""


class AdapterError(SourceError):
    """The adapter cannot be used, or not with this base."""


class ExportError(Hf2TritonError):
    """PyTorch's exporter or a graph pass failed."""


class ParityError(Hf2TritonError):
    """The exported model does not give PyTorch's answers. `report`: the measured differences; None if nothing was measured."""

    exit_code = 3
    report: Any = None


class RepositoryError(Hf2TritonError):
    """The model repository cannot be read or written."""


class NewerFormat(RepositoryError):
    """A later hf2triton has written a file of an entry."""


class ServingError(Hf2TritonError):
    """The embedded Triton cannot run here, or failed."""


class ControlRefused(ServingError):
    """The server refused to change its models: the control key is missing or wrong."""


class ScoringError(Hf2TritonError):
    """A data set could not be scored. Finished shards are kept."""


class RuntimeUnavailable(Hf2TritonError):
    """No environment with the onnxruntime of a Triton release could be made."""
