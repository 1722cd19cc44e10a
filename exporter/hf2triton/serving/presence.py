"""Checks that the models Triton calls ready have their processes. Uses only the standard library."""

from __future__ import annotations

import urllib.error
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from .loading import Control
from .stubs import Stub


@dataclass(frozen=True)
class Expected:
    """What a version of a model consists of. `decoupled`: its requests have any number of answers, so a request may be half
    answered."""

    processes: int
    decoupled: bool

    @classmethod
    def of(cls, config: dict[str, Any], backends: Collection[str]) -> Expected:
        groups = config.get("instance_group", ())
        processes = sum(group.get("count", 1) * max(1, len(group.get("gpus", ()))) for group in groups)
        decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)
        return cls(processes if config.get("backend") in backends else 0, decoupled)


class Presence:
    """Compares the models of a server with its processes. `backends`: the backends whose models are processes."""

    def __init__(self, control: Control, backends: Collection[str]) -> None:
        self._control = control
        self._backends = backends
        self._expected: dict[tuple[str, str], Expected] = {}  # (model, version)
        self._understood = False

    def note(self, found: Iterable[Stub]) -> None:
        """Records whether the models of processes can be identified. A single known model is enough. If command lines had another
        form, every model would seem to lack its processes."""
        self._understood |= any(stub.model for stub in found)

    def lacking(self, ready: Iterable[tuple[str, str]], found: Collection[Stub]) -> dict[str, Expected]:
        """The ready models that lack a process. Raises OSError."""
        self.note(found)
        running = Counter((stub.model, stub.version) for stub in found if not stub.dead)
        expected, lacking = {}, {}
        for key in ready:
            known = self._expected.get(key)
            if known is None or running[key] != known.processes:  # it may have been reloaded with another config
                try:
                    known = Expected.of(self._control.config(*key), self._backends)
                except urllib.error.HTTPError:  # unloaded meanwhile
                    continue
            expected[key] = known
            if running[key] < known.processes:
                lacking[key[0]] = known
        self._expected = expected
        return lacking if self._understood else {}
