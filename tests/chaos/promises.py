"""What callers may see of each fault, as data. docs/explanation/promises.md says the same in words.

A call that overlaps a fault may be *refused*: end in one of the errors that the promise names, as soon as it says. Any other
error is *lost*, and so is one outside of every fault; what has not ended after its deadline is *hung*; an answer that differs
from that of the version that gave it is *wrong*.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass

#: What a busy machine may add to a promised time, in seconds.
SLACK = float(os.environ.get("HF2TRITON_CHAOS_SLACK", "4"))
#: Within what time callers reach a server that is back.
RECONNECT = 2.0
#: Within what time a call ends that was with a process when that died, or hung.
TOLD = 5.0

#: The route of those who ask without a client.
HTTP = "http"

#: Errors of the client (and of bare HTTP) for those who ask while nobody is there, or is about to be.
NONE: frozenset[str] = frozenset()
AWAY = frozenset({"ConnectionFailed", "ServerBusy", "HTTPFailed"})
#: A model is away, its server is not.
MODEL_AWAY = AWAY | {"ModelNotFound", "ServerError"}
BUSY = frozenset({"ServerBusy", "DeadlineExceeded", "HTTPFailed"})
CUT_OFF = frozenset({"ConnectionFailed", "HTTPFailed"})
SILENT = CUT_OFF | {"DeadlineExceeded"}


@dataclass(frozen=True)
class Promise:
    """`refusals`: of any call that overlaps the fault; `own`: of those that the fault itself makes, whose route is its name;
    `broken_off`: of generations that had begun to answer, beside those; `over_http`: of calls to any model over HTTP, which
    nobody makes a second time.
    `told`: seconds after the fault within which a call that is refused must be. `back`: seconds after the fault's end until
    everybody is answered again; `starts`: a start of the server is added. `steady`: no process may be replaced; `crash`: unless
    tritonserver itself has crashed, as old releases do."""

    refusals: frozenset[str] = NONE
    own: frozenset[str] = NONE
    broken_off: frozenset[str] = NONE
    over_http: frozenset[str] = NONE
    told: float = math.inf
    back: float = 2.0
    starts: bool = False
    steady: bool = False
    crash: bool = False


@dataclass
class Window:
    """A fault under way. `models` and `routes`: whom it may touch, None for all. `over`: when its cause was gone; `end`: when
    nobody may notice it any more; `well`: when nobody did. Times are those of `time.monotonic`."""

    fault: str
    promise: Promise
    start: float
    models: Collection[str] | None = None
    routes: Collection[str] | None = None
    over: float | None = None
    end: float = math.inf
    well: float = math.inf

    def overlaps(self, sent: float, ended: float, model: str, route: str) -> bool:
        """Whether a call may have noticed."""
        touched = (self.models is None or model in self.models) and (self.routes is None or route in self.routes)
        touched |= route == HTTP and bool(self.promise.over_http)
        return touched and self.start <= ended and sent <= self.end


@dataclass(frozen=True)
class Call:
    """A call under way. `kind`: "call", "generation" or "stream"; `seconds`: its deadline; `route`: how it reaches the server."""

    number: int
    caller: str
    question: str
    model: str
    kind: str
    route: str
    sent: float
    seconds: float


def judge(call: Call, error: str, began: bool, ended: float, windows: Collection[Window]) -> tuple[str, str]:
    """ "refused" or "lost", and why. `error`: the names of its class and of those that it is a kind of; `began`: whether a part
    of the answer had come."""
    kinds, reasons = set(error.split(", ")), []
    for window in windows:
        if not window.overlaps(call.sent, ended, call.model, call.route):
            continue
        promise = window.promise
        allowed = promise.own if call.route == window.fault else promise.refusals
        allowed |= (promise.broken_off if began else NONE) | (promise.over_http if call.route == HTTP else NONE)
        took = ended - max(call.sent, window.start)
        if not kinds & allowed:
            reasons.append(f"{window.fault} allows {', '.join(sorted(allowed)) or 'no error'}")
        elif "DeadlineExceeded" not in kinds and took > promise.told + SLACK:
            reasons.append(f"{window.fault} promises an end within {promise.told:.0f} s; it took {took:.1f} s")
        else:
            return "refused", window.fault
    return "lost", "; ".join(reasons) or "there was no fault that touches it"
