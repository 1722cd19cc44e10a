"""Runs the stages of a job one after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ExportError, Hf2TritonError

Result = TypeVar("Result")


#: Called when a stage begins, with its description.
Progress = Callable[[str], None]


class Stages:
    """Runs stages one after another, times them, and records in every error which stage failed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    def of(self, suffix: str) -> Callable[..., Any]:
        """`run` for one of several frontends; its suffix is added to the names of the stages."""
        return lambda name, *rest: self.run(f"{suffix.strip('_')}: {name}" if suffix else name, *rest)

    def run(self, name: str, function: Callable[..., Result], *arguments: Any) -> Result:
        self._progress(name)
        began = time.perf_counter()
        try:
            result = function(*arguments)
        except Hf2TritonError as error:
            error.stage, error.done = name, tuple(self.seconds)
            raise
        except ModuleNotFoundError:  # the command line says which extra installs it
            raise
        except Exception as error:
            wrapped = ExportError(f"{type(error).__name__}: {error}")
            wrapped.stage, wrapped.done = name, tuple(self.seconds)
            raise wrapped from error
        self.seconds[name] = time.perf_counter() - began
        return result
