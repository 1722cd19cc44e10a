"""Brings back models whose process has died: unloads and loads them until that succeeds. Uses only the standard library."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from pathlib import Path

from .loading import Control, reason
from .missing import missing

#: Seconds before further tries to load a model; the last value applies to all later tries.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: Unloading waits for what Triton is still computing. Loading is not limited here: the supervisor notices if it cannot finish.
UNLOAD_SECONDS, LOAD_SECONDS = 30.0, 24 * 3600.0


class Reloads:
    """The models of one tritonserver that are being brought back, each in its own thread.

    `began`: model -> when Triton was told to load it (`time.monotonic`), infinity before that. `say` may be called from any
    thread.
    """

    def __init__(self, control: Control, repositories: Sequence[Path], say: Callable[[str], None]) -> None:
        self._control = control
        self._repositories = repositories
        self._say = say
        self._over = threading.Event()
        self.began: dict[str, float] = {}

    def add(self, model: str, anew: bool = True) -> None:
        """Starts to bring a model back. `anew`: unload it first if Triton considers it ready, because loading alone would do
        nothing."""
        if model not in self.began:
            self.began[model] = math.inf
            threading.Thread(target=self._run, args=[model, anew], daemon=True).start()

    def stop(self) -> None:
        """Stops trying, because the server is gone."""
        self._over.set()

    def _run(self, model: str, anew: bool) -> None:
        try:
            for pause in chain(PAUSES, repeat(PAUSES[-1])):
                try:
                    if anew:
                        self._unload(model)
                    if (why := missing(self._repositories, model)) is not None:
                        raise FileNotFoundError(why)
                    self.began[model] = time.monotonic()
                    self._control.load(model, LOAD_SECONDS)
                except OSError as error:
                    if not self._over.is_set():
                        self._say(f"model {model} could not be loaded: {reason(error)}; trying again in {pause:g} s")
                else:
                    self._say(f"model {model} is loaded again")
                    return
                self.began[model] = math.inf
                # another program may have loaded it meanwhile
                if self._over.wait(pause) or self._control.answers(f"v2/models/{model}/ready"):
                    return
        finally:
            del self.began[model]

    def _unload(self, model: str) -> None:
        until, ready = time.monotonic() + UNLOAD_SECONDS, f"v2/models/{model}/ready"
        if self._control.answers(ready):
            self._control.unload(model)
        while self._control.answers(ready) and time.monotonic() < until:
            time.sleep(0.02)
