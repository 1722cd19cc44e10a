"""Secrets of a server: its certificate, and the key for controlling it. serve.sh is told where they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .plan import DeploymentPlan


@dataclass(frozen=True)
class _Given:
    """An option, the variable in which serve.sh finds its path, the volume, and the file in it, if the path is a file."""

    option: str
    variable: str
    volume: str
    file: str = ""


_GIVEN = (
    _Given("tls", "HF2TRITON_TLS", "tls"),
    _Given("mutual_tls", "HF2TRITON_MUTUAL_TLS", "tls"),
    _Given("control_key", "HF2TRITON_CONTROL_KEY_FILE", "control", "control-key"),
)


def _place(given: _Given) -> str:
    return f"/etc/hf2triton/{given.volume}"


def _asked(plan: DeploymentPlan) -> Iterator[tuple[_Given, str]]:
    """The options that are set, and the Secret that holds each."""
    return ((given, secret) for given in _GIVEN if (secret := getattr(plan.options, given.option)))


def environment(plan: DeploymentPlan) -> list[dict[str, str]]:
    return [{"name": given.variable, "value": f"{_place(given)}/{given.file}".rstrip("/")} for given, _ in _asked(plan)]


def mounts(plan: DeploymentPlan) -> list[dict[str, Any]]:
    return [{"name": given.volume, "mountPath": _place(given), "readOnly": True} for given, _ in _asked(plan)]


def volumes(plan: DeploymentPlan) -> list[dict[str, Any]]:
    """The volumes. A volume without its Secret keeps the pod from starting."""
    return [{"name": given.volume, "secret": {"secretName": secret}} for given, secret in _asked(plan)]
