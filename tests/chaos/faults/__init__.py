"""Each way of breaking things: one function a fault, with the promise that goes with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..promises import Promise
from ..stage import Stage


@dataclass(frozen=True)
class Fault:
    """`inject` breaks something, waits as long as it is to last, and mends what it broke that nobody else can. `possible`: why it
    cannot be tried here, "" if it can."""

    inject: Callable[[Stage], None]
    promise: Promise
    possible: Callable[[Stage], str] = lambda stage: ""


def needs(*tasks: str) -> Callable[[Stage], str]:
    """For faults that break models of these tasks."""

    def possible(stage: Stage) -> str:
        missing = [task for task in tasks if task not in stage.entries]
        return f"no model serves {', '.join(missing)}" if missing else ""

    return possible


def all_faults() -> Mapping[str, Fault]:
    """Name -> fault, in an order that does not matter."""
    from . import clients, disk, load, network, processes, sent, versions

    modules = (processes, versions, network, load, sent, disk, clients)
    return {name: fault for module in modules for name, fault in module.FAULTS.items()}
