"""What happens between clients and the server: only those who go through the proxy may notice, and most must not."""

from __future__ import annotations

import time

from ..promises import CUT_OFF, NONE, SILENT, Promise
from ..stage import Stage
from . import Fault

PROXY = ("proxy",)


def cut(stage: Stage) -> None:
    """All connections are reset, several times."""
    stage.window.routes = PROXY
    for _ in range(4):
        stage.proxy.cut()
        time.sleep(stage.random.uniform(0.1, 0.8))


def half_closed(stage: Stage) -> None:
    """The server's side of all connections says that nothing more will come."""
    stage.window.routes = PROXY
    stage.proxy.half_close()
    time.sleep(1)


def delayed(stage: Stage) -> None:
    """Each piece takes up to half a second longer."""
    stage.window.routes = PROXY
    stage.proxy.delay = (0.1, 0.5)
    time.sleep(3)
    stage.proxy.delay = (0.0, 0.0)


def black_hole(stage: Stage) -> None:
    """Nothing comes through any more over connections that stay open; in the end they are reset."""
    stage.window.routes = PROXY
    stage.proxy.swallow()
    time.sleep(stage.random.uniform(2, 5))
    stage.proxy.cut()


_REPEATED = Promise(NONE, broken_off=CUT_OFF, steady=True)
FAULTS = {
    "cut": Fault(cut, _REPEATED),
    "half_closed": Fault(half_closed, _REPEATED),
    "delayed": Fault(delayed, Promise(steady=True)),
    "black_hole": Fault(black_hole, Promise(NONE, broken_off=SILENT, steady=True)),
}
