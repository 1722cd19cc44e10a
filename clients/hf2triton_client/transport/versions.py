"""The versions of a model that a pipeline knows: each answer is read with the settings of the version that gave it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, TypeVar

from ..errors import WrongTask
from .served_model import ServedModel, Stamp
from .steps import ReadConfig, Step, Wait

T = TypeVar("T")
Steps = Generator[Step, Any, T]

#: How many versions are remembered. No server serves more than two at the same time.
_KEPT = 8
#: Seconds before each further look for a config. If several servers share a name, each look goes to the next one, which may be
#: the one that answered.
_LOOKS = (0.0, 0.0, 0.0, 0.05, 0.1, 0.2)


class Versions:
    """The known versions of the frontend `name`. Threads can share it.

    `newest`: the version seen last; further requests are made for it.
    """

    def __init__(self, model: ServedModel) -> None:
        self.name = model.name
        self.newest = model
        self._known: tuple[ServedModel, ...] = (model,)

    def find(self, stamp: Stamp) -> ServedModel | None:
        """Returns the version that gave an answer, if it is known."""
        newest = self.newest
        if newest.answers_as(stamp):  # nearly always
            return newest
        found = next((model for model in self._known if model.answers_as(stamp)), None)
        if found is not None:
            self.newest = found
        return found

    def learn(self, model: ServedModel) -> bool:
        """Remembers a version and returns whether it was new. Raises WrongTask if it serves another task."""
        if model.task != self.newest.task:
            raise WrongTask(
                f"model {self.name!r} was replaced: it serves {model.task}, and this pipeline is for {self.newest.task}; open"
                " another one"
            )
        new = model not in self._known
        if new:
            self._known = (model, *self._known)[:_KEPT]
        self.newest = model
        return new

    @property
    def several(self) -> bool:
        return len(self._known) > 1

    @property
    def common(self) -> ServedModel:
        """Returns a model that suits all known versions: the smallest batch, and the outputs that all of them have."""
        outputs = [model.settings.get("outputs", {}) for model in self._known]
        shared = {name: per for name, per in outputs[0].items() if all(name in own for own in outputs)}
        size = min(model.max_batch_size for model in self._known)
        return replace(self.newest, max_batch_size=size, settings={**self.newest.settings, "outputs": shared})

    def of(self, stamp: Stamp) -> Steps[ServedModel | None]:
        """Returns the version that gave an answer. Reads its config if it is not known. Returns None if no server has the
        config because the version is gone again. Raises WrongTask."""
        for pause in _LOOKS:
            if (found := self.find(stamp)) is not None:
                return found
            yield from self._look(pause, stamp.version)
        return self.find(stamp)

    def changed(self) -> Steps[bool]:
        """Returns whether a previously unknown version is served. Raises WrongTask."""
        for pause in _LOOKS[:3]:
            if (yield from self._look(pause)):
                return True
        return False

    def _look(self, pause: float, version: int | None = None) -> Steps[bool]:
        if pause:
            yield Wait(pause)
        config = yield ReadConfig(self.name, "" if version is None else str(version))
        if config is None:
            return False
        model = ServedModel.from_config(config)
        if version is not None and not model.versions:  # a config that lets Triton choose the served versions
            model = replace(model, versions=(version,))
        return self.learn(model)
