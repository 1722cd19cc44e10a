"""What happens inside a process that calls: it forks, its clock jumps, it closes what others still use."""

from __future__ import annotations

import subprocess

import hf2triton_client.errors as errors

from ..promises import Promise
from ..stage import Stage
from . import Fault

#: What says that an input, or the caller, is at fault. A connection that cannot be used says something else.
_CALLERS_FAULT = {
    "InputError",
    "WrongTask",
    "BaselineError",
    "ReportError",
    "UnknownForm",
    "ModelNotFound",
    "AccessDenied",
}
#: Any other error of the client: which it is matters less than that it comes at once.
OURS = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.ClientError) and name not in _CALLERS_FAULT
) - {"DeadlineExceeded"}
ACT_SECONDS = 60.0


def act(stage: Stage, name: str) -> None:
    """A process of its own has clients, and does something to them."""
    child = stage.crew.process(str(stage.models.served), stage.url, name)
    try:
        code = child.wait(ACT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        stage.broken(f"the process did not end within {ACT_SECONDS:.0f} s")
    else:
        if code:
            stage.broken(f"the process ended with {code}")


def fork(stage: Stage) -> None:
    """A process forks that has called, and both go on calling with the same pipelines."""
    act(stage, "fork")


def clock(stage: Stage) -> None:
    """The time of day jumps by hours, as far as a process can see it."""
    act(stage, "clock")


def close(stage: Stage) -> None:
    """A connection is closed while threads call over it, and called again."""
    act(stage, "close")


FAULTS = {
    "fork": Fault(fork, Promise(own=OURS, told=2, steady=True)),
    "clock": Fault(clock, Promise(steady=True)),
    "close": Fault(close, Promise(own=OURS, told=2, steady=True)),
}
